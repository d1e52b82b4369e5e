"""Counts of item reads and of live checks, over all processes and hosts.

Each process counts in memory. A background thread adds the counts to Redis, at most once per
``COUNT_INTERVAL`` and at exit: to one hash of totals, and to one hash per slice of time, for
charts. So the totals are exact within a second, at no cost to a read.
"""

import atexit
import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.db import connections

from cachelayer import conf, events
from cachelayer.background_task import BackgroundTask
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import keyspace, scripts, transport

logger = logging.getLogger("cachelayer.counters")

KEY: Final = "cachelayer:counts"
NAMES: Final = ("hit", "miss", "bypass", "checked", "stale")

#: Seconds of one slice, and how many of them are kept.
SLICE: Final = 10
SLICES: Final = 90

#: Seconds for which a repeated flush is recognized.
_REMEMBERED: Final = 3600

_count = scripts.load("count")


@dataclass(frozen=True, slots=True)
class Slice:
    """The counts of all processes in the ``SLICE`` seconds from *start* (Unix time)."""

    start: int
    counts: Mapping[str, int]


class Counts:
    """The counts of one process that are not in Redis yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._task = BackgroundTask(
            "cachelayer-counters", lambda: conf.get().COUNT_INTERVAL, self._flush_in_background
        )
        # One flush at a time; add() never waits for it.
        self._flushing = threading.Lock()
        #: By slice and name: counts that wait to be sent, and counts that were sent without answer.
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._sent: Counter[tuple[int, str]] = Counter()
        self._number = 0
        # The braces put it into the slot of KEY on Redis Cluster.
        self._last_flush = f"{{{KEY}}}:{secrets.token_hex(8)}"

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._pending[name] += count
        self._task.wake()

    def flush(self) -> None:
        """Add the pending counts to the totals; keep them for the next time if Redis is away.

        Counts without an answer are sent again separately, under the same number, because a Redis
        that was only paused already has them.
        """
        with self._flushing:
            self._put_into_slice()
            while True:
                if not self._sent:
                    self._sent, self._waiting = self._waiting, Counter()
                    self._number += 1
                if not self._sent:
                    return
                try:
                    self._send()
                except CacheUnavailable:
                    return
                self._sent = Counter()

    def _put_into_slice(self) -> None:
        """Keep the time of the counts, so that charts show an outage where it was."""
        now = int(time.time()) // SLICE
        with self._lock:
            pending, self._pending = self._pending, Counter()
        for name, count in pending.items():
            self._waiting[now, name] += count

    def _send(self) -> None:
        slices = sorted({number for number, _ in self._sent})
        position = {number: 3 + i for i, number in enumerate(slices)}
        counts = [
            part
            for (number, name), count in self._sent.items()
            for part in (position[number], name, count)
        ]
        keys = [KEY, self._last_flush, *map(_slice_key, slices)]
        transport.round_trip(_count(keys, self._number, _REMEMBERED, SLICE * SLICES, *counts))

    def _flush_in_background(self) -> bool:
        try:
            self.flush()
        except Exception:
            logger.exception("Counts were not flushed. They are kept for the next time.")
        finally:
            # A new connection to Redis may have asked Postgres for the epoch.
            connections.close_all()
        return bool(self._sent or self._waiting or self._pending)


_counts = Counts()


def add(name: str, count: int = 1) -> None:
    """Add to a count: reads by outcome, or hits that the live check has compared."""
    _counts.add(name, count)


def listen() -> None:
    """Count the announced events from now on."""
    events.read_ended.listen(_count_read)
    events.hit_checked.listen(_count_check)


def _count_read(kind: str, outcome: str, seconds: float | None) -> None:
    add(outcome)


def _count_check(stale: bool) -> None:
    add("checked")
    if stale:
        add("stale")


def flush() -> None:
    """Add this process's counts to the totals now; keep them if Redis is away."""
    _counts.flush()


def totals() -> Mapping[str, int]:
    """The totals of all processes; raises ``CacheUnavailable``."""
    flush()
    values = transport.round_trip(("HMGET", keyspace.of(KEY), *NAMES))[0]
    return {name: int(value or 0) for name, value in zip(NAMES, values, strict=True)}


def history(slices: int = SLICES) -> list[Slice]:
    """The last *slices*, oldest first, including the current one; raises ``CacheUnavailable``.

    Counts from an outage of Redis are added to their slices when Redis is back.
    """
    flush()
    newest = int(time.time()) // SLICE
    numbers = range(newest - slices + 1, newest + 1)
    keys = keyspace.all_of(map(_slice_key, numbers))
    found = transport.round_trip(*[("HMGET", key, *NAMES) for key in keys])
    return [
        Slice(
            number * SLICE,
            {name: int(value or 0) for name, value in zip(NAMES, values, strict=True)},
        )
        for number, values in zip(numbers, found, strict=True)
    ]


def _slice_key(number: int) -> str:
    return f"{{{KEY}}}:slice:{number}"


def _start_afresh() -> None:
    # A forked child does not have the parent's thread; the parent's lock may be held; and the
    # parent flushes its own counts.
    global _counts
    _counts = Counts()


os.register_at_fork(after_in_child=_start_afresh)
atexit.register(flush)
