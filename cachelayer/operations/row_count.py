"""Counts the cached rows, without KEYS and without a scan on every call.

A small Redis is counted key by key. In a large one, the count is DBSIZE minus the keys that the
last scan found not to be rows. The scan runs in the background, at most once per ``REFRESH`` over
all processes.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final

from django.db import connections

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import (
    cluster_transport,
    keyspace,
    scripts,
    shards,
    transport,
    variants,
)
from cachelayer.representation import registry

#: Up to this many keys are counted on the spot.
SMALL: Final = 5_000
#: How many keys one step checks. Redis answers no other client meanwhile (some 5 µs per key).
STEP: Final = 200
#: Seconds from one scan of a large keyspace to the next.
REFRESH: Final = 60.0
#: In the background, the pause after a step is this many times as long as the step.
_PAUSE: Final = 4

#: Holds the number of keys that are not rows, from the last scan.
KEY: Final = "cachelayer:census"
#: Exists from the start of a scan until the next one is due.
_WALKED: Final = f"{KEY}:walked"

_count_step = scripts.load("census")


@dataclass(frozen=True, slots=True)
class Census:
    """``exact`` says whether every key was checked just now.

    If not, ``rows`` is wrong by the change since the last scan in the number of marks, leases,
    nulls and keys of other programs. Before the first scan, it is an estimate from a sample of the
    keys.
    """

    rows: int
    exact: bool


def count() -> Census:
    """The number of cached rows; raises ``CacheUnavailable``."""
    size, others, walked = transport.round_trip(
        ("DBSIZE",), ("GET", keyspace.of(KEY)), ("EXISTS", keyspace.of(_WALKED))
    )
    if size <= SMALL:
        return Census(walk()[0], exact=True)
    if not walked:
        threading.Thread(target=_refresh, name="cachelayer-census", daemon=True).start()
    if others is not None:
        return Census(max(0, size - int(others)), exact=False)
    # SCAN returns keys in the order of their hashes, so the first keys are a fair sample.
    _, rows, others = _step(b"0")
    return Census(round(size * rows / max(1, rows + others)), exact=False)


def walk(*, gently: bool = False) -> tuple[int, int]:
    """Check every key, in short steps; return how many are cached rows and how many are not.

    With *gently*, leave most of Redis's time to others, and keep other processes from scanning.
    """
    cursor = b"0"
    rows = others = 0
    while True:
        start = time.monotonic()
        cursor, found, rest = _step(cursor)
        rows += found
        others += rest
        if cursor == b"0":
            return rows, others
        if gently:
            time.sleep(_PAUSE * (time.monotonic() - start))
            transport.round_trip(_due_later())


def _step(cursor: bytes) -> tuple[bytes, int, int]:
    # Count rows of this release's shape only; other releases have the same rows.
    prefixes = [variants.variant(cached.prefix) or cached.prefix for cached in registry.every()]
    if shards.are_used():
        # The braces say that keys begin with the tag of their shard.
        start = f"{{}}{keyspace.prefix()}"
        after, answer = cluster_transport.step(
            cursor.decode(), lambda own: _count_step([], own, STEP, start, *prefixes)
        )
        _, rows, others = answer or (b"0", 0, 0)
        return after.encode(), int(rows), int(others)
    command = _count_step([], cursor, STEP, keyspace.prefix(), *prefixes)
    [[cursor, rows, others]] = transport.round_trip(command)
    return cursor, int(rows), int(others)


def _due_later(*condition: str) -> scripts.Command:
    return ("SET", keyspace.of(_WALKED), "1", "PX", round(REFRESH * 1000), *condition)


def _refresh() -> None:
    try:
        if transport.round_trip(_due_later("NX"))[0]:
            _, others = walk(gently=True)
            transport.round_trip(("SET", keyspace.of(KEY), others))
    except CacheUnavailable:
        pass  # The next scan is due in REFRESH seconds.
    finally:
        connections.close_all()  # As in ``counters``, a new Redis connection may ask Postgres.
