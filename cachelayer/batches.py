"""Batches of an iterable, for pipelines of a bounded size."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

#: The keys that one pipeline to Redis carries.
PIPELINE = 1000


def batched(iterable: Iterable[T], size: int = PIPELINE) -> Iterator[tuple[T, ...]]:
    """``itertools.batched``, which Python 3.11 lacks."""
    iterator = iter(iterable)
    while batch := tuple(islice(iterator, size)):
        yield batch
