"""Writes by the ORM: what the cache layer adds to ``update()`` and ``delete()``."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from loadtest.bench.databases import database, redis_url
from loadtest.bench.outcome import Outcome, of_seconds
from loadtest.bench.testbed import Testbed

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


def measure(testbed: Testbed, repeats: int, *, quick: bool) -> list[Outcome]:
    """Seconds with the layer, in turns with those of the same project without it."""
    with project(testbed, "cached") as cached, project(testbed, "plain") as plain:
        outcomes = []
        for work in works(quick=quick):
            # The first finds tables, plans and scripts cold, which no goal is about.
            turns = [
                (cached.seconds(work.name, work.count), plain.seconds(work.name, work.count))
                for _ in range(repeats + 1)
            ]
            mine, others = zip(*turns[1:], strict=True)
            outcomes.append(of_seconds("orm", work.what, work.goal, mine, others))
        return outcomes


class Project:
    """A process of ``peers/orm.py``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def seconds(self, name: str, count: int) -> float:
        """What that work takes; ``RuntimeError`` when it fails."""
        assert self._process.stdin
        self._process.stdin.write(f"{name} {count}\n")
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
def project(testbed: Testbed, kind: str) -> Iterator[Project]:
    """One that is ``cached`` or ``plain``, on a separate database."""
    with database(testbed, f"bench_{kind}") as url:
        settings = {"DATABASE_URL": url, "REDIS_URL": redis_url(testbed, _REDIS_DATABASE)}
        with subprocess.Popen(
            [sys.executable, "-m", "loadtest.bench.peers.orm", kind],
            cwd=testbed.lab.root,
            env=testbed.lab.environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                started = Project(process)
                started.line()
                yield started
            finally:
                process.kill()
