"""Counts of item reads and of live checks, over all processes and hosts.

Each process adds its own up in memory and a background thread adds them to one
Redis hash, at most once per ``COUNT_INTERVAL`` and at exit. So the totals are
exact within a second at no cost to a read.
"""

import atexit
import logging
import os
import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from cachelayer import conf, link
from cachelayer.gate import CacheUnavailable

logger = logging.getLogger("cachelayer.counters")

KEY: Final = "cachelayer:counts"
NAMES: Final = ("hit", "miss", "bypass", "checked", "stale")

#: Seconds for which a flush that was sent twice is known to be the same one.
_REMEMBERED: Final = 3600

_count = link.script("count")


class Counts:
    """The counts of one process that are not in Redis yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._dirty = threading.Event()
        self._flusher: threading.Thread | None = None
        # One flush at a time; add() never waits for it.
        self._flushing = threading.Lock()
        self._sent: Counter[str] = Counter()
        self._number = 0
        # The braces keep it in the slot of KEY on Redis Cluster.
        self._last_flush = f"{{{KEY}}}:{secrets.token_hex(8)}"

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._pending[name] += count
            if self._flusher is None:
                self._start_flusher()
        if not self._dirty.is_set():
            self._dirty.set()

    def flush(self) -> None:
        """Add the pending counts to the totals; kept for the next time if Redis is away.

        Counts whose answer did not come are sent again under the same number,
        alone: a Redis that was only paused has them already.
        """
        with self._flushing:
            while True:
                if not self._sent:
                    with self._lock:
                        self._sent, self._pending = self._pending, Counter()
                    self._number += 1
                if not self._sent:
                    return
                counts = [part for pair in self._sent.items() for part in pair]
                keys = [KEY, self._last_flush]
                try:
                    link.round_trip(_count(keys, self._number, _REMEMBERED, *counts))
                except CacheUnavailable:
                    return
                self._sent = Counter()

    def _start_flusher(self) -> None:
        flusher = threading.Thread(
            target=self._keep_flushing, name="cachelayer-counters", daemon=True
        )
        try:
            flusher.start()
        except RuntimeError:
            return  # The interpreter is going down: the flush at exit counts this.
        self._flusher = flusher

    def _keep_flushing(self) -> None:
        pause = threading.Event()
        while True:
            self._dirty.wait()
            pause.wait(conf.get().COUNT_INTERVAL)
            self._dirty.clear()
            try:
                self.flush()
            except Exception:
                logger.exception("Counts not flushed; they are kept for the next time.")
            if self._sent or self._pending:
                self._dirty.set()


_counts = Counts()


def add(name: str, count: int = 1) -> None:
    """Count reads: by outcome, or those that a live check has looked at."""
    _counts.add(name, count)


def flush() -> None:
    """Add this process's counts to the totals now; without Redis they are kept."""
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
