"""Writes by the ORM: what the cache layer adds to ``update()`` and ``delete()``."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from loadtest.bench.outcome import Outcome, of_seconds
from loadtest.bench.stand import Stand

#: A Redis database that the lab does not use.
_REDIS_DATABASE: Final = 9


@dataclass(frozen=True, slots=True)
class Work:
    """*name* and *count* are said to ``peers/orm.py``."""

    name: str
    count: int
    what: str
    goal: float


def works(*, quick: bool) -> list[Work]:
    """All three; *quick*: of fewer rows."""
    many = 20_000 if quick else 200_000
    return [
        Work("update_one", 300, "update() of one row in autocommit / without the layer", 1.6),
        Work("update_many", many, f"update() of {many:,} rows / without the layer", 2.0),
        Work("cascade", 2000, "delete() of a row that 2,000 refer to / without the layer", 2.0),
    ]


def measure(stand: Stand, repeats: int, *, quick: bool) -> list[Outcome]:
    """Seconds with the layer, in turns with those of the same project without it."""
    with _writer(stand, "cached") as cached, _writer(stand, "plain") as plain:
        outcomes = []
        for work in works(quick=quick):
            # The first finds tables, plans and scripts cold, which no goal is about.
            turns = [(cached.seconds(work), plain.seconds(work)) for _ in range(repeats + 1)]
            mine, others = zip(*turns[1:], strict=True)
            outcomes.append(of_seconds("orm", work.what, work.goal, mine, others))
        return outcomes


class _Writer:
    """A process of ``peers/orm.py``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def seconds(self, work: Work) -> float:
        """What *work* takes; ``RuntimeError`` when it fails."""
        assert self._process.stdin
        self._process.stdin.write(f"{work.name} {work.count}\n")
        self._process.stdin.flush()
        return float(self.line())

    def line(self) -> str:
        """The next that it says; ``RuntimeError`` when it has ended instead."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("loadtest.bench.peers.orm has failed; what it said is above.")
        return line


@contextmanager
def _writer(stand: Stand, kind: str) -> Iterator[_Writer]:
    with _database(stand, f"bench_{kind}") as url:
        settings = {"DATABASE_URL": url, "REDIS_URL": _redis(stand.lab.settings)}
        with subprocess.Popen(
            [sys.executable, "-m", "loadtest.bench.peers.orm", kind],
            cwd=stand.lab.root,
            env=stand.lab.environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                writer = _Writer(process)
                writer.line()
                yield writer
            finally:
                process.kill()


@contextmanager
def _database(stand: Stand, name: str) -> Iterator[str]:
    """An empty database beside the lab's; its URL."""
    quoted = sql.Identifier(name)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted)
    with stand.postgres() as connection:
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
    try:
        yield _at(stand.lab.settings["DATABASE_URL"], name)
    finally:
        with stand.postgres() as connection:
            connection.execute(drop)


def _redis(settings: Mapping[str, str]) -> str:
    return _at(settings["REDIS_URL"], str(_REDIS_DATABASE))


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
