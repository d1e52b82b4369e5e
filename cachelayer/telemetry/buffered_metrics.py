"""Prometheus metrics for the hot path: noted at once, added up a few times per second.

In multiprocess mode, an observation writes to mapped files under a lock, which takes several
microseconds. Here it is one append. A process that exits, or shows its metrics, adds up its notes
first. A process that is killed loses the notes of the last ``INTERVAL``.
"""

import atexit
import os
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import REGISTRY, Counter, Histogram, Metric

from cachelayer.background_task import BackgroundTask

#: Seconds until other processes can see what was noted.
INTERVAL: Final = 0.5

_all: list["BatchedCounter | BatchedHistogram"] = []
_flushing = threading.Lock()


class BatchedCounter:
    """A child of a ``Counter``, with buffered increments."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.start_afresh()
        _all.append(self)

    def start_afresh(self) -> None:
        self._noted: deque[int] = deque()

    def inc(self, count: int = 1) -> None:
        self._noted.append(count)
        _task.wake()

    def add_up(self) -> None:
        if noted := _drain(self._noted):
            self._counter.inc(sum(noted))


class BatchedHistogram:
    """A child of a ``Histogram``, with buffered observations."""

    def __init__(self, histogram: Histogram) -> None:
        # A histogram has no public method that adds more than one observation.
        self._bounds: list[float] = histogram._upper_bounds
        self._buckets: list[Any] = histogram._buckets
        self._sum: Any = histogram._sum
        self.start_afresh()
        _all.append(self)

    def start_afresh(self) -> None:
        self._noted: deque[float] = deque()

    def observe(self, value: float) -> None:
        self._noted.append(value)
        _task.wake()

    def add_up(self) -> None:
        if noted := _drain(self._noted):
            self._sum.inc(sum(noted))
            bounds = self._bounds
            for i, count in Tally(bisect_left(bounds, value) for value in noted).items():
                self._buckets[i].inc(count)


def flush() -> None:
    """Add up what was noted in this process."""
    with _flushing:
        for each in _all:
            each.add_up()


def _drain(noted: "deque[Any]") -> list[Any]:
    # Other threads may append meanwhile, but only this one removes.
    return [noted.popleft() for _ in range(len(noted))]


def _flush_again_later() -> bool:
    flush()
    return False


_task = BackgroundTask("cachelayer-metrics", lambda: INTERVAL, _flush_again_later)


class _FlushFirst:
    """Is collected before the metrics, because it is registered before them."""

    def collect(self) -> Iterable[Metric]:
        flush()
        return []


def _start_afresh() -> None:
    # The parent adds up its own notes, and its lock may be held here.
    global _flushing
    _flushing = threading.Lock()
    for each in _all:
        each.start_afresh()


REGISTRY.register(_FlushFirst())
os.register_at_fork(after_in_child=_start_afresh)
atexit.register(flush)
