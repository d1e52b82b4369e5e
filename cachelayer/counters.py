"""Counts of item reads and of live checks, over all processes and hosts.

Each process adds its own up in memory and a background thread adds them to one
Redis hash, at most once per ``COUNT_INTERVAL`` and at exit. So the totals are
exact within a second at no cost to a read.
"""

import atexit
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from cachelayer import conf, link
from cachelayer.gate import CacheUnavailable

KEY: Final = "cachelayer:counts"
NAMES: Final = ("hit", "miss", "bypass", "checked", "stale")


class Counts:
    """The counts of one process that are not in Redis yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._dirty = threading.Event()
        self._flusher: threading.Thread | None = None

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._pending[name] += count
            if self._flusher is None:
                self._flusher = threading.Thread(
                    target=self._keep_flushing, name="cachelayer-counters", daemon=True
                )
                self._flusher.start()
        if not self._dirty.is_set():
            self._dirty.set()

    def flush(self) -> None:
        """Add the pending counts to the totals; kept for the next time if Redis is away."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
        if not pending:
            return
        try:
            link.round_trip(*[("HINCRBY", KEY, name, n) for name, n in pending.items()])
        except CacheUnavailable:
            with self._lock:
                self._pending += pending

    def _keep_flushing(self) -> None:
        pause = threading.Event()
        while True:
            self._dirty.wait()
            pause.wait(conf.get().COUNT_INTERVAL)
            self._dirty.clear()
            self.flush()
            with self._lock:
                if self._pending:
                    self._dirty.set()


_counts = Counts()


def add(name: str, count: int = 1) -> None:
    """Count reads: by outcome, or those that a live check has looked at."""
    _counts.add(name, count)


def flush() -> None:
    """Add this process's counts to the totals now; never raises."""
    _counts.flush()


def totals() -> Mapping[str, int]:
    """The totals of all processes; raises ``CacheUnavailable``."""
    flush()
    values = link.round_trip(("HMGET", KEY, *NAMES))[0]
    return {name: int(value or 0) for name, value in zip(NAMES, values, strict=True)}


def _start_afresh() -> None:
    # The parent's thread does not live in a forked child, its lock may be held,
    # and its counts are the parent's to flush.
    global _counts
    _counts = Counts()


os.register_at_fork(after_in_child=_start_afresh)
atexit.register(flush)
