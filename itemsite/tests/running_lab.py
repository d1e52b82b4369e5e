"""A real lab, started from a copy of the project, for tests."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.folder import LabFolder
from itemsite.lab.ports import free_port
from itemsite.lab.postgres import Postgres
from itemsite.lab.process import RECORD, Record, children, command_line, stop_recorded, wait_until
from itemsite.lab.redis_server import Redis

_TRACING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED", "TRACES_URL", "JAEGER_URL")
# What ./lab test sets for the tests is not for a lab.
_OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "LAB", "PORT", "LAB_BEGAN", *_TRACING)
# What is compiled is copied, too; but not the files that are only now being written.
_LEAVE_OUT = shutil.ignore_patterns(".*", "var", "*.pyc.*", "docker", "docs")


class RunningLab:
    """One checkout and its lab; ``python -m itemsite.lab`` is what ./lab becomes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = LabFolder(root)
        self.port = free_port()
        self.output = root.with_name(f"{root.name}.out")
        self.process: subprocess.Popen[bytes] | None = None
        if not root.exists():
            shutil.copytree(ROOT, root, ignore=_LEAVE_OUT)
        if not self.folder.path.exists():
            # The usual ports may be those of a lab that a person runs.
            self.folder.path.mkdir(parents=True)
            ports = {name: free_port() for name in ("postgres", "redis", "collector")}
            (self.folder.path / "ports.json").write_text(json.dumps(ports))

    def __enter__(self) -> "RunningLab":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        # If the lab's own stop is what is broken, nothing is left here all the same.
        stop_recorded(self.folder.path)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        return {**inherited, "PORT": str(self.port)}

    @property
    def said(self) -> str:
        return self.output.read_text()

    def start(self, **environment: str) -> "RunningLab":
        """Start it and wait for its banner."""
        self.launch(**environment)
        assert self.process is not None
        process = self.process
        wait_until(lambda: "Stop:" in self.said or process.poll() is not None, 60)
        assert "The lab is ready" in self.said, self.said + self.logs()
        return self

    def launch(self, **environment: str) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "itemsite.lab"],
                cwd=self.root,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``./lab`` with *arguments* to its end."""
        return subprocess.run(
            [sys.executable, "-m", "itemsite.lab", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
        )

    def send(self, number: int) -> int:
        """Send a signal to the launcher and wait for its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def kill_with_keeper(self) -> None:
        """The worst end: nobody is left who could stop the servers."""
        assert self.process is not None
        for pid in children(self.process.pid):
            if "itemsite.lab.keeper" in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        self.send(signal.SIGKILL)

    def servers(self) -> dict[str, Record]:
        found = {
            path.parent.name: Record.read(path) for path in self.folder.path.glob(f"*/{RECORD}")
        }
        return {name: record for name, record in found.items() if record and record.alive}

    @property
    def redis(self) -> Redis:
        return Redis(self.folder.path / "redis", self.folder.remembered_port("redis", 0))

    @property
    def postgres(self) -> Postgres:
        return Postgres(self.folder.path / "postgres", self.folder.remembered_port("postgres", 0))

    def ask(self, path: str, body: object = None) -> tuple[int, dict[str, str], object]:
        """The status, the headers and the JSON of an answer; 0 if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            try:
                if body is None:
                    connection.request("GET", path)
                else:
                    headers = {"Content-Type": "application/json"}
                    connection.request("POST", path, json.dumps(body), headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                return 0, {}, None
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, dict(answer.headers), json.loads(text) if is_json else text.decode()

    def health(self) -> object:
        answer = self.ask("/health")[2]
        return answer["status"] if isinstance(answer, dict) else None

    def logs(self) -> str:
        return "\n".join(
            f"--- {path}\n{path.read_text(errors='replace')[-3000:]}"
            for path in [*self.folder.path.glob("*.log"), *self.folder.path.glob("*/*.log")]
        )
