"""How many rows are cached, without KEYS and without a walk on every call.

A small Redis is counted key by key. In a large one the count is DBSIZE less the
keys that the last walk found to be no rows; a walk runs in the background, at
most once per ``REFRESH`` over all processes.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final

from django.db import connections

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import keyspace, scripts, transport, variants
from cachelayer.representation import registry

#: Up to this many keys are counted on the spot.
SMALL: Final = 5_000
#: Keys that one step looks at. Redis answers nobody else meanwhile (some 5 µs a key).
STEP: Final = 200
#: Seconds from a walk of a large keyspace to the next.
REFRESH: Final = 60.0
#: In the background, how many times as long as a step the pause after it is.
_PAUSE: Final = 4

#: Holds the number of keys that are no rows, as the last walk found it.
KEY: Final = "cachelayer:census"
#: Is there from the start of a walk until the next one is due.
_WALKED: Final = f"{KEY}:walked"

_count_step = scripts.load("census")


@dataclass(frozen=True, slots=True)
class Census:
    """``exact`` says whether every key was looked at just now.

    If not, ``rows`` is right up to what has changed since the last walk: how
    many marks, leases, nulls and other programs' keys there are. Before the
    first walk it is an estimate from a sample of the keys.
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
    # Keys come in the order of their hashes: the first ones are a fair sample.
    _, rows, others = _step(b"0")
    return Census(round(size * rows / max(1, rows + others)), exact=False)


def walk(*, gently: bool = False) -> tuple[int, int]:
    """Look at every key, in short steps; answer how many are cached rows and how many not.

    *gently* leaves most of Redis's time to others, and the walk to this process.
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
    # Rows of this release's shape: those of others are the same rows.
    prefixes = [variants.variant(cached.prefix) or cached.prefix for cached in registry.every()]
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
        pass  # The next walk is due in REFRESH seconds.
    finally:
        connections.close_all()  # As in ``counters``.
