"""A server process that can be found again: by another command, or after a crash.

psutil is imported where it is used: some commands work before anything is installed.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from itemsite.lab.errors import LabError

RECORD = "process.json"


@dataclass(frozen=True, slots=True)
class Record:
    """Which process a server is: its pid, and when that pid began.

    A pid alone may be somebody else's by now.
    """

    pid: int
    identity: str
    stop_signal: int
    order: int
    # Somebody is stopping it, so its end is expected.
    stopping: bool = False

    @classmethod
    def of(cls, pid: int, *, stop_signal: int = signal.SIGTERM, order: int = 0) -> Self:
        return cls(pid, identity(pid) or "", stop_signal, order)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @property
    def alive(self) -> bool:
        return bool(self.identity) and identity(self.pid) == self.identity

    def send(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, timeout: float) -> None:
        """Ask it to stop, kill it and its children if it does not, and wait until it is gone."""
        if not self.alive:
            return
        family = [Record.of(pid) for pid in children(self.pid)]
        self.send(self.stop_signal)
        # A paused process takes the signal only when it runs again.
        for member in (self, *family):
            member.send(signal.SIGCONT)
        if wait_until(lambda: not self.alive, timeout):
            return
        for member in (self, *family):
            member.send(signal.SIGKILL)
        wait_until(lambda: not self.alive, 5)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll *condition*; ``False`` when *timeout* seconds have passed without it."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def identity(pid: int) -> str | None:
    """What tells this process from an earlier or later one with its pid; ``None`` if dead."""
    import psutil

    if psutil.LINUX:
        # Ticks since the boot: psutil's time of creation moves when the clock is set.
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return str(process.create_time())
    return None


def command_line(pid: int) -> str:
    """How the process was called; empty if there is none."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def children(pid: int) -> list[int]:
    """The processes that *pid* has started."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


@cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


class Server:
    """A server with its own directory for its data, its log and its record."""

    name = "server"
    stop_signal: int = signal.SIGTERM
    stop_timeout = 15.0
    # In which order servers stop: what uses others goes first.
    order = 0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / f"{self.name.lower()}.log"
        self._record = directory / RECORD
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, also if another command started it; ``None`` when it is not running."""
        if self._popen:
            # Not reaped, a dead child of ours would stay in the process table.
            self._popen.poll()
        record = Record.read(self._record)
        return record.pid if record and record.alive else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def died(self) -> bool:
        """Whether it went down without being told to: its record is still there."""
        record = Record.read(self._record)
        return record is not None and not record.stopping and not self.running

    def start(self, timeout: float = 30.0) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it cleanly; nothing happens if it is not running."""
        if record := self._stopping():
            record.stop(self.stop_timeout)
        self._forget()

    def kill(self) -> None:
        """Kill it without a chance to save anything; it can be started again."""
        if record := self._stopping():
            record.send(signal.SIGKILL)
            wait_until(lambda: not record.alive, 5)
        self._forget()

    def pause(self) -> None:
        """Freeze it and its children: connections stay open and nothing answers."""
        self._send_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._send_all(signal.SIGCONT)

    def _send_all(self, number: int) -> None:
        if pid := self.pid:
            for member in (pid, *children(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, number)

    def _stopping(self) -> Record | None:
        record = Record.read(self._record)
        if record is None and self._popen and self._popen.poll() is None:
            # Somebody has deleted var/ under a running server.
            record = self._record_of(self._popen.pid)
        if record:
            record = replace(record, stopping=True)
            with contextlib.suppress(OSError):
                record.write(self._record)
        return record

    def _record_of(self, pid: int) -> Record:
        return Record.of(pid, stop_signal=self.stop_signal, order=self.order)

    def _forget(self) -> None:
        self._record.unlink(missing_ok=True)
        if self._popen:
            self._popen.wait()
            self._popen = None

    def _spawn(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Start *command* in a separate session: Ctrl-C is the launcher's to handle."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **kwargs,
            )
        self._record_of(self._popen.pid).write(self._record)

    def _await(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until *ready*; ``LabError`` with the log's last words if it never is."""
        done = wait_until(lambda: ready() or not self.running, timeout)
        if self.running and done:
            return
        reason = "it exited" if done else f"it did not answer in {timeout:.0f} s"
        words = self.last_words()
        self.stop()
        raise LabError(
            f"{self.name} did not start: {words or reason}; "
            f"{self.log} has the rest, then start it again."
        )

    def last_words(self) -> str:
        """The last line of its log that looks like a reason."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-40:]
        except OSError:
            return ""
        wanted = [x for x in lines if any(w in x for w in ("FATAL", "Error", "ERROR", "failed"))]
        return (wanted or [""])[-1].strip().rstrip(".")


def stop_recorded(folder: Path) -> int:
    """Stop every server whose record is anywhere under *folder*; returns how many ran."""
    stopped = 0
    records = [(Record.read(path), path) for path in folder.rglob(RECORD)]
    for record, path in sorted(records, key=lambda pair: pair[0].order if pair[0] else 0):
        if record and record.alive:
            record.stop(Server.stop_timeout)
            stopped += 1
        path.unlink(missing_ok=True)
    return stopped
