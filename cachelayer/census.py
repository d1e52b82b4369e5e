"""How many rows are cached, without KEYS and without a walk on every call.

A small Redis is counted key by key. In a large one the count is DBSIZE less the
keys that the last walk found to be no rows; a walk runs in the background, at
most once per ``REFRESH`` over all processes.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final

from cachelayer import link, registry
from cachelayer.gate import CacheUnavailable

#: Up to this many keys are counted on the spot (in steps of STEP keys).
SMALL: Final = 5_000
STEP: Final = 1_000
#: Seconds between two walks of a large keyspace.
REFRESH: Final = 60.0

KEY: Final = "cachelayer:census"

_count_step = link.script("census")


@dataclass(frozen=True, slots=True)
class Census:
    """``exact`` says whether every key was looked at just now."""

    rows: int
    exact: bool


def count() -> Census:
    """The number of cached rows; raises ``CacheUnavailable``."""
    size, last = link.round_trip(("DBSIZE",), ("HMGET", KEY, "others", "at"))
    if size <= SMALL:
        return Census(walk(), exact=True)
    others, at = (float(value) if value else 0.0 for value in last)
    if time.time() - at > REFRESH:
        threading.Thread(target=_refresh, name="cachelayer-census", daemon=True).start()
    return Census(max(0, size - int(others)), exact=False)


def walk() -> int:
    """Count the cached rows, key by key, without ever blocking Redis for long."""
    return sum(_walk(cached.prefix) for cached in registry.all_cached())


def _walk(prefix: str) -> int:
    cursor = b"0"
    rows = 0
    while True:
        [[cursor, found]] = link.round_trip(_count_step([], cursor, f"{prefix}:*", STEP))
        rows += int(found)
        if cursor == b"0":
            return rows


def _refresh() -> None:
    try:
        lock = ("SET", f"{KEY}:walking", "1", "NX", "EX", int(REFRESH))
        if link.round_trip(lock)[0]:
            rows = walk()
            size = link.round_trip(("DBSIZE",))[0]
            others = max(0, size - rows)
            link.round_trip(("HSET", KEY, "others", others, "at", time.time()))
    except CacheUnavailable:
        pass  # The next look at the statistics tries again.
