"""Batches of an iterable, for pipelines of a bounded size; and patience with Redis for one."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis.gate import Mode, gate

T = TypeVar("T")
R = TypeVar("R")

#: The keys that one pipeline to Redis carries.
PIPELINE = 1000


def batched(iterable: Iterable[T], size: int = PIPELINE) -> Iterator[tuple[T, ...]]:
    """``itertools.batched``, which Python 3.11 lacks."""
    iterator = iter(iterable)
    while batch := tuple(islice(iterator, size)):
        yield batch


#: Seconds for which a batch waits until Redis is trusted again; it waits so often.
_PATIENCE: Final = 10.0
_TRIES: Final = 3


def patiently(work: Callable[[T], R], batch: T) -> R:
    """``work(batch)``, done again where an answer of Redis was missed and it is trusted again.

    A long command does not end for one of its thousand round trips. Raises what *work*
    raises, ``CacheUnavailable`` at once where nobody is there.
    """
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
