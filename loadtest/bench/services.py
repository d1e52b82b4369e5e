"""One way to serve documents, running: its database, its readers and its writers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import orjson

from loadtest.bench.databases import database, redis_url
from loadtest.bench.staleness import History
from loadtest.bench.testbed import Testbed

#: Processes, as of a web server with two workers; and those in which somebody writes.
READERS: Final = 2
WRITERS: Final = 2
#: The first of the Redis databases that are used; a Redis has sixteen.
_FIRST_REDIS: Final = 10


class Service:
    """Processes of ``peers/documents.py`` for one way, and the history of what they wrote."""

    def __init__(self, readers: "list[_Worker]", writers: "list[_Worker]") -> None:
        self._readers, self._writers = readers, writers
        self.history = History()

    @classmethod
    @contextmanager
    def started(cls, testbed: Testbed, way: str, number: int) -> "Iterator[Service]":
        """The service of *way* on separate databases; ``RuntimeError`` if it does not start."""
        with database(testbed, f"bench_documents_{way}") as url, ExitStack() as stack:
            settings = {
                "DATABASE_URL": url,
                "REDIS_URL": redis_url(testbed, _FIRST_REDIS + number),
            }
            spawned = _Spawned(testbed, way, settings, stack)
            spawned.run_to_the_end("prepare")
            if way == "cachelayer":
                # As the docs have it: a process beside the workers.
                spawned.start("repair")
            readers = [_Worker(spawned.start("reader", n, READERS)) for n in range(READERS)]
            writers = [_Worker(spawned.start("writer", n, WRITERS)) for n in range(WRITERS)]
            for worker in readers + writers:
                worker.answer()
            yield cls(readers, writers)

    def warm(self) -> None:
        """Empty the cache, and have every document in it again."""
        self._readers[0].ask("clear")
        for reader in self._readers:
            reader.ask("warm")

    def run(self, pause: float, start: float, until: float) -> tuple[list[Any], list[Any]]:
        """What was read and what was written between two instants; writers pause *pause*."""
        for reader in self._readers:
            reader.say(f"run 0 {start} {until}")
        for writer in self._writers:
            writer.say(f"run {pause} {start} {until}")
        reads = [read for reader in self._readers for read in reader.answer()]
        return reads, [write for writer in self._writers for write in writer.answer()]

    def race(self) -> bool:
        """Whether a reader that is held up leaves something stale; see ``library/race.py``."""
        return bool(self._readers[0].ask("race"))

    def walk(self) -> list[Any]:
        """Every document read once."""
        return list(self._readers[0].ask("walk"))


class _Spawned:
    """Starts processes of one way, which end with *stack*."""

    def __init__(
        self, testbed: Testbed, way: str, settings: dict[str, str], stack: ExitStack
    ) -> None:
        self._way, self._stack, self._root = way, stack, testbed.lab.root
        self._environment = testbed.lab.environment(settings)

    def start(self, role: str, *numbers: int) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            self._command(role, *numbers),
            cwd=self._root,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if numbers else subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def run_to_the_end(self, role: str) -> None:
        done = subprocess.run(
            self._command(role),
            cwd=self._root,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{self._way}: {done.stderr.strip()[-600:]}")

    def _command(self, role: str, *numbers: int) -> list[str]:
        module = "loadtest.bench.peers.documents"
        return [sys.executable, "-m", module, self._way, role, *map(str, numbers)]


class _Worker:
    """A process that is asked by lines and answers by lines of JSON."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def ask(self, line: str) -> Any:
        self.say(line)
        return self.answer()

    def say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """The next line; ``RuntimeError`` when the process has ended instead."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A process of peers/documents.py failed; it said why above.")
        return orjson.loads(line)
