"""Splits iterables into batches for bounded pipelines, and retries a batch while Redis settles."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis.gate import Mode, gate

T = TypeVar("T")
R = TypeVar("R")

#: How many keys one pipeline to Redis carries.
PIPELINE = 1000


def batched(iterable: Iterable[T], size: int = PIPELINE) -> Iterator[tuple[T, ...]]:
    """``itertools.batched``, which Python 3.11 lacks."""
    iterator = iter(iterable)
    while batch := tuple(islice(iterator, size)):
        yield batch


#: Seconds that a batch waits until Redis is trusted again, and how often it waits.
_PATIENCE: Final = 10.0
_TRIES: Final = 3


def patiently(work: Callable[[T], R], batch: T) -> R:
    """``work(batch)``; repeated if Redis missed an answer and is trusted again.

    So one failed round trip out of thousands does not end a long command. Raises what *work*
    raises; ``CacheUnavailable`` at once if Redis is down.
    """
    for _ in range(_TRIES - 1):
        try:
            return work(batch)
        except CacheUnavailable:
            deadline = time.monotonic() + _PATIENCE
            # An open gate means that Redis is down; a settling gate may close soon.
            while gate.mode is Mode.SETTLING and time.monotonic() < deadline:
                time.sleep(0.05)
            if gate.mode is not Mode.CLOSED:
                raise
    return work(batch)
