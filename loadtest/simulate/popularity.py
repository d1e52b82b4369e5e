"""Zipf's law over any number of rows: ranks that are nearly alike are one group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from typing import Final

from loadtest.simulate.site import Site

#: So many ranks are groups of their own.
_ALONE: Final = 64
#: The last rank of a group is at most this far above its first. At 1.02 instead, no hit rate
#: in the tests differs in its fourth place.
_RATIO: Final = 1.05


@dataclass(frozen=True, slots=True)
class Group:
    """*count* rows, each of which is read and written so often a second."""

    count: int
    reads: float
    writes: float


def groups(site: Site) -> Sequence[Group]:
    """All rows of *site*, the most popular first."""
    bounds = list(_bounds(site.rows))
    read = [_weight(first, after, site.skew) for first, after in bounds]
    written = [_weight(first, after, site.write_skew) for first, after in bounds]
    each_read, each_written = site.reads / sum(read), site.writes / sum(written)
    return [
        Group(after - first, r * each_read / (after - first), w * each_written / (after - first))
        for (first, after), r, w in zip(bounds, read, written, strict=True)
    ]


def cumulative(rows: int, skew: float) -> list[float]:
    """The running sum of the weights of ranks 1 to *rows*, for a choice by chance."""
    return list(accumulate(rank**-skew for rank in range(1, rows + 1)))


def _bounds(rows: int) -> Iterator[tuple[int, int]]:
    """First rank, and the one after the last."""
    first = 1
    while first <= rows:
        after = first + 1 if first <= _ALONE else int(first * _RATIO) + 1
        yield first, min(after, rows + 1)
        first = after


def _weight(first: int, after: int, skew: float) -> float:
    if after - first == 1:
        return float(first**-skew)
    # The sum of n^-skew as an integral, which is exact enough from the 64th rank on.
    low, high = first - 0.5, after - 0.5
    if abs(skew - 1) < 1e-9:
        return log(high / low)
    return float((high ** (1 - skew) - low ** (1 - skew)) / (1 - skew))
