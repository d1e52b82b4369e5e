"""What the storm's clients have done: every operation, every failure, every row's bytes."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from loadtest.history import Operation
from loadtest.lists import ListRead, Lists, Position

now = time.monotonic_ns
#: A key and a value.
Pair = tuple[str, str]
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was refused (503), broken, or answered with an error."""

    start: int
    end: int
    what: str
    server: str

    @property
    def refused(self) -> bool:
        return self.what.endswith("503")


@dataclass
class Record:
    """Shared by all clients; appending to a list and adding a key need no lock."""

    operations: list[Operation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    #: Start and end of every read that was answered.
    reads: list[tuple[int, int]] = field(default_factory=list)
    #: Statements that have written several rows.
    many: int = 0
    caches: Counter[str] = field(default_factory=Counter)
    #: Rows whose bytes differ between two answers although they are of the same write.
    torn: list[str] = field(default_factory=list)
    lists: list[ListRead] = field(default_factory=list)
    #: Where the answers to them came from.
    list_caches: Counter[str] = field(default_factory=Counter)
    #: Where each row is in the list.
    positions: dict[str, Position] = field(default_factory=dict)
    #: Creates without an answer, by value: nobody reads their keys.
    unanswered: dict[str, Operation] = field(default_factory=dict)
    _rows: dict[tuple[str, str], int] = field(default_factory=dict)
    #: What pages show, each once: they are many, and mostly show the same.
    _pairs: dict[Pair, Pair] = field(default_factory=dict)
    _pages: dict[tuple[Pair, ...], tuple[Pair, ...]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, key: str, value: str, start: int, who: str) -> None:
        self.operations.append(Operation(key, "read", value, start, now(), "ok", who))

    def unanswered_creates(self, values: Iterable[str], start: int, who: str) -> None:
        """Creates that may have happened, or may happen yet."""
        for value in values:
            self.unanswered[value] = Operation("", "write", value, start, now(), "unknown", who)

    def page(self, read: ListRead) -> None:
        """A page was read."""
        rows = tuple(self._pairs.setdefault(row, row) for row in read.rows)
        self.lists.append(replace(read, rows=self._pages.setdefault(rows, rows)))

    def created(self, key: str, created_at: str) -> None:
        """Note where the row is in the list, from its ``created_at`` (ISO 8601)."""
        position = ((datetime.fromisoformat(created_at) - _EPOCH) // timedelta(microseconds=1), key)
        if self.positions.setdefault(key, position) != position:
            self.torn.append(f"{key}: created_at is {created_at}, and was another")

    def all_lists(self) -> Lists:
        """For the checker."""
        return Lists(self.lists, self.positions, self.unanswered)

    def write(
        self,
        key: str,
        value: str,
        start: int,
        who: str,
        outcome: Literal["ok", "failed", "unknown"] = "ok",
    ) -> None:
        self.operations.append(Operation(key, "write", value, start, now(), outcome, who))

    def writes(
        self,
        values: Mapping[str, str],
        start: int,
        who: str,
        outcome: Literal["ok", "failed", "unknown"] = "ok",
    ) -> None:
        """One statement has written several rows: which value, by key."""
        with self._lock:
            self.many += 1
        for key, value in values.items():
            self.write(key, value, start, who, outcome)

    def row(self, key: str, value: str, body: bytes) -> None:
        """Note the bytes of the row that *value* was written to."""
        if self._rows.setdefault((key, value), hash(body)) != hash(body):
            self.torn.append(f"{key}: {value}: {body[:200]!r}")

    def cache(self, outcome: str) -> None:
        with self._lock:
            self.caches[outcome] += 1

    def list_cache(self, outcome: str) -> None:
        with self._lock:
            self.list_caches[outcome] += 1
