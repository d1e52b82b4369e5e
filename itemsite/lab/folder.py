"""What the lab keeps between starts, in var/lab: data, ports, secrets, who is running."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError
from itemsite.lab.ports import free_port, is_free
from itemsite.lab.process import Record

# A keeper that cleans up after a killed lab holds the lock this long at most.
_CLEANING_UP = 40.0
NOT_RUNNING = "No lab is running; ./lab starts one."


@dataclass(frozen=True, slots=True)
class State:
    """What other commands must know of a running lab."""

    url: str
    database_url: str
    redis_url: str
    secret_key: str
    embedded: list[str]
    tracing: dict[str, str] = field(default_factory=dict)
    application: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What ``manage.py`` and gunicorn need."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": self.secret_key,
            "LAB": "1",
            **self.tracing,
            **self.application,
        }


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once for each lab, readable by its owner only."""

    secret_key: str
    admin_password: str


class LabFolder:
    """The folder var/lab of a checkout."""

    def __init__(self, root: Path = ROOT) -> None:
        self.path = root / "var" / "lab"
        self._launcher = self.path / "launcher.json"
        self._state = self.path / "state.json"
        self._ports = self.path / "ports.json"
        self._secrets = self.path / "secrets.json"

    def lock(self) -> IO[str]:
        """Become the one lab of this checkout, for as long as the file stays open."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "lock").open("a")
        deadline = time.monotonic() + _CLEANING_UP
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if self.launcher():
                    where = f"running at {state.url}" if (state := self.state()) else "starting"
                    raise LabError(f"The lab is already {where}; ./lab stop stops it.") from None
            if time.monotonic() > deadline:
                raise LabError(
                    "Another ./lab is still stopping; wait a moment and start ./lab again."
                )
            time.sleep(0.1)
        self._state.unlink(missing_ok=True)
        Record.of(os.getpid()).write(self._launcher)
        return lock

    def launcher(self) -> Record | None:
        """The process that runs the lab, if one does."""
        record = Record.read(self._launcher)
        return record if record and record.alive else None

    def state(self) -> State | None:
        """How to reach the running lab; ``None`` while none runs or it is still starting."""
        if not self.launcher():
            return None
        try:
            return State(**json.loads(self._state.read_text()))
        except FileNotFoundError:
            return None

    def running(self) -> State:
        """How to reach the running lab; ``LabError`` if there is none."""
        if state := self.state():
            return state
        if self.launcher():
            raise LabError("The lab is still starting; try again in a moment.")
        raise LabError(NOT_RUNNING)

    def publish(self, state: State) -> None:
        write_private(self._state, asdict(state))

    def retire(self) -> None:
        """The lab has stopped."""
        self._state.unlink(missing_ok=True)
        self._launcher.unlink(missing_ok=True)

    def secrets(self) -> Secrets:
        with contextlib.suppress(FileNotFoundError):
            return Secrets(**json.loads(self._secrets.read_text()))
        made = Secrets(secrets.token_urlsafe(48), secrets.token_urlsafe(9))
        write_private(self._secrets, asdict(made))
        return made

    def remembered_port(self, name: str, usual: int) -> int:
        """The port that *name* had last time; *usual* if it never ran."""
        return self._read_ports().get(name, usual)

    def port_for(self, name: str, usual: int) -> int:
        """A free port, the same as last time if it can be; remembered."""
        ports = self._read_ports()
        wanted = ports.get(name, usual)
        ports[name] = wanted if is_free(wanted) else free_port()
        self._ports.write_text(json.dumps(ports))
        return ports[name]

    def _read_ports(self) -> dict[str, int]:
        with contextlib.suppress(FileNotFoundError):
            return {str(name): int(p) for name, p in json.loads(self._ports.read_text()).items()}
        return {}


def write_private(path: Path, content: Mapping[str, object]) -> None:
    """Write *content* so that nobody else could read it at any moment, and whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    new.replace(path)
