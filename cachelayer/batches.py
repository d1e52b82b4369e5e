"""Batches of an iterable, for pipelines of a bounded size; and working on several at a time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from django.db import connections

from cachelayer.gate import CacheUnavailable, Mode, gate

T = TypeVar("T")
R = TypeVar("R")

#: The keys that one pipeline to Redis carries.
PIPELINE = 1000


def batched(iterable: Iterable[T], size: int = PIPELINE) -> Iterator[tuple[T, ...]]:
    """``itertools.batched``, which Python 3.11 lacks."""
    iterator = iter(iterable)
    while batch := tuple(islice(iterator, size)):
        yield batch


#: Batches that are worked on at a time: while one waits for Redis, another for Postgres.
_AT_A_TIME: Final = 2
#: Seconds for which a batch waits until Redis is trusted again; it waits so often.
_PATIENCE: Final = 10.0
_TRIES: Final = 3


def overlapped(work: Callable[[T], R], batches: Iterable[T]) -> Iterator[R]:
    """``map(work, batches)``, a few at a time in threads, their results in order.

    A batch that misses an answer of Redis waits until it is trusted again and is done once
    more. The threads' database connections are closed at the end. What *work* raises is
    raised here, and what had not begun by then is not done.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="cachelayer-batches") as threads:
        try:
            for batch in batches:
                waiting.append(threads.submit(_patiently, work, batch))
                if len(waiting) > _AT_A_TIME:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            # Each waits for the others, so that every thread gets one.
            together = threading.Barrier(_AT_A_TIME)
            for _ in range(_AT_A_TIME):
                threads.submit(_close_connections, together)


def _patiently(work: Callable[[T], R], batch: T) -> R:
    for _ in range(_TRIES - 1):
        try:
            return work(batch)
        except CacheUnavailable:
            deadline = time.monotonic() + _PATIENCE
            # An open gate says that nobody is there; a settling one, that it may close soon.
            while gate.mode is Mode.SETTLING and time.monotonic() < deadline:
                time.sleep(0.05)
            if gate.mode is not Mode.CLOSED:
                raise
    return work(batch)


def _close_connections(together: threading.Barrier) -> None:
    connections.close_all()
    together.wait()
