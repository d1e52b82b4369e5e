"""A lab of the storm's own, from a copy of the checkout: a lab that runs here is left alone."""

import contextlib
import http.client
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from loadtest.network import Network

_CHECKOUT: Final = Path(__file__).resolve().parents[1]
_PARTS: Final = ("cachelayer", "items", "itemsite", "loadtest", "manage.py")
#: What a shell says of other labs and settings must not reach this one.
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


#: What a server says whose port is somebody else's.
_TAKEN: Final = ("Can't connect to", "ddress already in use", "is in use")


class IsolatedLab:
    """Everything that ``./lab`` starts, in *directory*, on separate ports."""

    def __init__(self, directory: Path, partition: str = "bounded", **settings: str) -> None:
        """*settings* go into the environment of everything that is started."""
        self._directory = directory
        self._choice = {"PARTITION": partition, **settings}
        self._root = directory / "checkout"
        self._launcher: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._networks: list[Network] = []
        self.port, self.url = 0, ""
        self.settings: dict[str, str] = {}

    def start(self) -> None:
        """Start it and wait until /health answers; ``RuntimeError`` has its last words."""
        # With what is compiled; without the files that are only now being written.
        ignored = shutil.ignore_patterns("*.pyc.*")
        self._root.mkdir(parents=True)
        for name in _PARTS:
            part = _CHECKOUT / name
            if part.is_dir():
                shutil.copytree(part, self._root / name, ignore=ignored)
            else:
                shutil.copy2(part, self._root / name)
        self._launch()
        # export NAME=value …
        exports = shlex.split(self.lab("env"))
        pairs = (word.partition("=") for word in exports if "=" in word)
        self.settings = {name: value for name, _, value in pairs if name != "PATH"}

    def _launch(self, attempts: int = 3) -> None:
        """Somebody else may take a port between the choice and the start: then choose again."""
        self._choose_ports()
        self._launcher = self._spawn(
            "lab", ["-m", "itemsite.lab"], {"PORT": str(self.port), **self._choice}
        )
        try:
            self._wait_for_health("lab", self._launcher, self.port)
        except RuntimeError as error:
            if attempts == 1 or not any(words in str(error) for words in _TAKEN):
                raise
            self._launch(attempts - 1)

    def _choose_ports(self) -> None:
        """Not the usual ones: another lab could take them while a server here is down."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        ports = self._root / "var" / "lab" / "ports.json"
        ports.parent.mkdir(parents=True, exist_ok=True)
        ports.write_text(json.dumps({"postgres": free_port(), "redis": free_port()}))

    def stop(self) -> None:
        """Stop all that was started."""
        self.stop_served()
        if self._launcher:
            _end(self._launcher, 60)

    def stop_served(self) -> None:
        """Stop the web servers beside the lab, and wait for their workers."""
        for process in self._others:
            workers = []
            with contextlib.suppress(psutil.NoSuchProcess):
                workers = psutil.Process(process.pid).children()
            _end(process, 10)
            # django-bolt's outlive the process that has started them.
            for worker in psutil.wait_procs(workers, 10)[1]:
                worker.kill()
        self._others.clear()
        while self._networks:
            self._networks.pop().close()

    def lab(self, *arguments: str) -> str:
        """Run ``./lab`` *arguments*; what it printed. Raises ``CalledProcessError``."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self._root,
            env=_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    @property
    def root(self) -> Path:
        """Its checkout."""
        return self._root

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """What the lab's own processes have in theirs, and *changes*."""
        return _environment({**self.settings, **self._choice, **changes})

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``./lab`` *arguments*, in ``self.root``."""
        return [sys.executable, "-m", "itemsite.lab", *arguments]

    def talk_to(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start ``./lab`` *arguments* with pipes to talk through; the caller ends it."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self._root,
            env=_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._directory / "talk.log").open("ab"),
            text=True,
            start_new_session=True,
        )

    def serve(
        self,
        name: str,
        application: Sequence[str],
        changes: Mapping[str, str],
        *,
        module: str = "gunicorn",
        network: Network | None = None,
    ) -> "Served":
        """Start one more web server, with the lab's settings and *changes*, and wait for it.

        In *network*, which is closed with it, it listens here all the same.
        """
        port = free_port()
        command = ["-m", module, *application]
        settings = {**self.settings, **self._choice, "BIND": f"127.0.0.1:{port}", **changes}
        if network:
            self._networks.append(network)
            # A socket belongs to the network in which it was made, whoever listens on it.
            with socket.create_server(("127.0.0.1", port), backlog=2048) as here:
                settings["BIND"] = f"fd://{here.fileno()}"
                process = self._spawn(name, command, settings, port, network.entrance, here)
        else:
            process = self._spawn(name, command, settings, port)
        self._others.append(process)
        self._wait_for_health(name, process, port)
        return Served(f"http://127.0.0.1:{port}", process.pid)

    @property
    def web(self) -> "Served":
        return Served(self.url, self._recorded("web"))

    @property
    def redis_pid(self) -> int:
        return self._recorded("redis")

    @property
    def postgres_pid(self) -> int:
        return self._recorded("postgres")

    @property
    def repair_pid(self) -> int:
        """The process that runs ``cache_repair``."""
        return self._recorded("repair")

    @property
    def redis_dump(self) -> Path:
        """What Redis has saved, and reads when it starts."""
        return self._root / "var" / "lab" / "redis" / "dump.rdb"

    def _recorded(self, name: str) -> int:
        record = self._root / "var" / "lab" / name / "process.json"
        return int(json.loads(record.read_text())["pid"])

    def _spawn(
        self,
        name: str,
        arguments: Sequence[str],
        changes: Mapping[str, str],
        port: int = 0,
        entrance: Sequence[str] = (),
        *inherited: socket.socket,
    ) -> "subprocess.Popen[bytes]":
        words = [word.replace("PORT", str(port)) for word in arguments]
        with (self._directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*entrance, sys.executable, *words],
                pass_fds=[each.fileno() for each in inherited],
                cwd=self._root,
                env=_environment(changes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is the storm's to handle.
                start_new_session=True,
            )

    def _wait_for_health(self, name: str, process: "subprocess.Popen[bytes]", port: int) -> None:
        def ready() -> bool:
            return process.poll() is not None or health(port) == "ok"

        if not wait_until(ready, 90) or process.poll() is not None:
            words = (self._directory / f"{name}.log").read_text(errors="replace").strip()
            raise RuntimeError(f"{name} did not start: {words[-600:]}")


class Served:
    """A gunicorn that answers at *url*."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    @property
    def workers(self) -> list[int]:
        return children(self.pid)


def health(port: int) -> str:
    """The status that /health gives; empty when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read())["status"])
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return ""
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll *condition*; ``False`` when *timeout* seconds have passed without it."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    """A port that nobody listens on, below those that systems give to outgoing connections."""
    for port in random.SystemRandom().sample(range(20000, 30000), 200):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("No port from 20000 to 29999 is free on 127.0.0.1.")


def children(pid: int) -> list[int]:
    """The processes that *pid* has started and that have not ended."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
    return found


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **changes}


def _end(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
