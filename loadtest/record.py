"""What the storm's clients have done: every operation, every failure, every row's bytes."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadtest.history import Operation

now = time.monotonic_ns


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
    _rows: dict[tuple[str, str], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, key: str, value: str, start: int, who: str) -> None:
        self.operations.append(Operation(key, "read", value, start, now(), "ok", who))

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
