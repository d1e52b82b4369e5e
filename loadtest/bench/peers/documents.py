"""One document served in several ways: a process that reads or writes, and no server.

``python -m loadtest.bench.peers.documents WAY ROLE INDEX COUNT``; the ways are in
``library/ways.py``. ``prepare`` makes the tables and fills them, ``repair`` is the process that
this project wants beside its workers. A ``reader`` and a ``writer`` read what to do from their
standard input, a line each, and answer each with a line of JSON:

    clear                     empty the cache
    warm                      read every book until all come from the cache
    run PAUSE START UNTIL     read, or write, between two instants of the monotonic clock
    walk                      read every book once
    race                      whether a reader that is held up leaves something stale

DATABASE_URL is a separate database, and so is REDIS_URL.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import dj_database_url
import django
import orjson
from django.conf import settings

from loadtest.bench.peers.library import ways

_WAY, _ROLE = sys.argv[1:3]
#: Threads of one reader, as those of a worker of the lab's gunicorn.
_THREADS: Final = 4
_own: dict[str, Any] = ways.settings_of(_WAY, os.environ["REDIS_URL"])

settings.configure(
    SECRET_KEY="bench",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        *_own.pop("APPS"),
        "loadtest.bench.peers.library",
    ],
    DATABASES={
        "default": {**dj_database_url.parse(os.environ["DATABASE_URL"]), "CONN_MAX_AGE": None}
    },
    USE_TZ=True,
    **_own,
)
django.setup()

# All of these need the settings.
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from loadtest.bench.peers.library import contents, race  # noqa: E402
from loadtest.bench.peers.library.writing import Writer  # noqa: E402

#: When a read began and ended, how many queries it sent, and the bytes.
Raw = tuple[int, int, int, bytes]


class Queries:
    """Counts the queries of one thread's connection."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.sent += 1
        return execute(*arguments)


class Reader:
    """Number *index* of the readers."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._read = ways.reader(_WAY)

    def run(self, pause: float, start: float, until: float) -> list[Any]:
        """Read books that are wanted between *start* and *until*, in some threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            jobs = [pool.submit(self._loop, n, pause, start, until) for n in range(_THREADS)]
        return [_parsed(read) for job in jobs for read in job.result()]

    def _loop(self, number: int, pause: float, start: float, until: float) -> list[Raw]:
        choice = random.Random(f"{self._index} {number}")
        reads: list[Raw] = []
        connection.ensure_connection()
        try:
            time.sleep(max(0.0, start - time.monotonic()))
            while time.monotonic() < until:
                reads.append(self._one(contents.wanted(choice)))
                if pause:
                    time.sleep(pause)
        finally:
            connection.close()
        return reads

    def _one(self, pk: int) -> Raw:
        queries = Queries()
        began = time.monotonic_ns()
        with connection.execute_wrapper(queries):
            row = self._read(pk)
        return began, time.monotonic_ns(), queries.sent, row

    def walk(self) -> list[Any]:
        """Every book once."""
        return [_parsed(self._one(pk)) for pk in range(1, contents.BOOKS + 1)]

    def race(self) -> bool:
        """Whether a reader that is held up leaves something stale."""
        return race.is_lost(self._read)

    def warm(self) -> None:
        """Read until a whole walk is of hits; ``RuntimeError`` when that takes too long."""
        deadline = time.monotonic() + 30
        while any(queries for _, _, queries, _ in self.walk()) and _WAY != "plain":
            if time.monotonic() > deadline:
                raise RuntimeError(f"{_WAY} does not cache its documents.")
            time.sleep(0.05)


def _parsed(read: Raw) -> tuple[int, int, int, list[tuple[str, int]]]:
    began, ended, queries, row = read
    return began, ended, queries, contents.shown(orjson.loads(row))


def prepare() -> None:
    """The tables, with the layer's triggers where it is installed, and what is in them."""
    call_command("migrate", verbosity=0, run_syncdb=True)
    contents.fill()


def _say(what: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


def serve(index: int, count: int) -> None:
    """Do what each line says, until there are no more."""
    worker: Any = Reader(index) if _ROLE == "reader" else Writer(index, count)
    connection.ensure_connection()
    _say("ready")
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "clear":
            ways.clear(_WAY)
            _say(None)
        else:
            _say(getattr(worker, command)(*map(float, arguments)))


if __name__ == "__main__":
    if _ROLE == "prepare":
        prepare()
    elif _ROLE == "repair":
        call_command("cache_repair")
    else:
        serve(*map(int, sys.argv[3:5]))
