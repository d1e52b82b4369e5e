"""Which reads were stale, decided afterwards from what was written and what was shown.

Times are of the monotonic clock, which all processes of a machine share. Each thing has
one writer, so its versions follow one another. A read may show the last version that was
acknowledged before it began, or any that was being written before it ended; anything
older is stale. (A number of reviews comes back: a stale one that equals a right one
passes. So what is found is at least what there was.)
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Versions:
    """Of one thing, in order; version 0 was there before all."""

    values: list[int] = field(default_factory=lambda: [0])
    began: list[int] = field(default_factory=lambda: [0])
    acknowledged: list[int] = field(default_factory=lambda: [0])


class History:
    """All writes of one project, and the verdict on its reads."""

    def __init__(self) -> None:
        self._things: dict[str, _Versions] = {}

    def add(self, writes: Iterable[tuple[str, int, int, int]]) -> None:
        """Each: the thing, its new version, when the write began, when it was acknowledged."""
        for thing, value, began, acknowledged in writes:
            versions = self._things.setdefault(thing, _Versions())
            versions.values.append(value)
            versions.began.append(began)
            versions.acknowledged.append(acknowledged)

    def age(self, thing: str, value: int, began: int, ended: int) -> int:
        """For how long *value* had been out of date when the read began; 0: it was not stale.

        ``RuntimeError`` for a value that nobody had written: then this history is not whole.
        """
        versions = self._things.setdefault(thing, _Versions())
        last = bisect_right(versions.acknowledged, began) - 1
        if value in versions.values[last : bisect_left(versions.began, ended)]:
            return 0
        for older in range(last - 1, -1, -1):
            if versions.values[older] == value:
                return max(1, began - versions.acknowledged[older + 1])
        raise RuntimeError(f"{thing} was shown in version {value}, which nobody had written.")
