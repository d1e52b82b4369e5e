"""How long the cache takes to follow what it could not mark, and to trust a Redis again.

The rows in Redis are made up, so that a million of them take a second: what is measured deletes
them, and nobody reads them before.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from loadtest.bench.plan.memory import POPULATE
from loadtest.bench.say import say
from loadtest.bench.testbed import Testbed
from loadtest.isolated_lab import wait_until

_KEY: Final = "item:%08x-0000-4000-9000-000000000000"
_JSON: Final = "{" + "x" * 330
#: A row that is there.
_ROW: Final = f"/items/00000000-0000-4000-8000-{1:012x}"
#: Seconds that one of these may take, also with ten million keys.
_PATIENCE: Final = 1800.0
_AT_ONCE: Final = 10_000
#: With so many keys it takes long, and varies little: it is measured once.
_ONCE: Final = 1_000_000
#: Answers in a row that must have come from the cache: there are two workers.
_ANSWERS: Final = 12


def measure(testbed: Testbed, counts: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Seconds of each, by the number of keys, as medians of *repeats* (one with very many)."""
    works: tuple[tuple[str, str, Sequence[int], Callable[[Testbed, int], float]], ...] = (
        ("drain", "drain of N logged keys", counts[1:], _drain),
        ("sweep", "TRUNCATE of a table with N cached rows", counts[1:], _truncate),
        ("reconcile", "reconcile of a Redis with N cached rows", counts, _reconcile),
        ("loss", "Redis killed, and started at once and empty", counts[:1], _loss),
    )
    found = []
    for name, what, sizes, work in works:
        for keys in sizes:
            say(f"{what}, {keys:,}")
            seconds = []
            try:
                for _ in range(repeats if keys < _ONCE else 1):
                    _wait_for_rest(testbed)
                    seconds.append(work(testbed, keys))
            except RuntimeError as error:
                say(f"{what}, {keys:,}: could not be measured: {error}")
                continue
            found.append(
                {
                    "name": name,
                    "what": what,
                    "keys": keys,
                    "seconds": round(statistics.median(seconds), 2),
                    "spread": [round(min(seconds), 2), round(max(seconds), 2)],
                }
            )
    return found


def _wait_for_rest(testbed: Testbed) -> None:
    _wait_for_trust(testbed)
    with testbed.postgres() as connection:
        _until_drained(connection)


def _drain(testbed: Testbed, keys: int) -> float:
    """From the COMMIT that logs them until the log is empty; the lab drains by itself."""
    with testbed.postgres() as connection:
        with connection.transaction():
            connection.execute(
                "INSERT INTO cachelayer_repair (key) SELECT 'item:' || gen_random_uuid() "
                "FROM generate_series(1, %s)",
                [keys],
            )
            connection.execute("SELECT pg_notify('cachelayer_repair', '')")
        start = time.monotonic()
        _until_drained(connection)
        return time.monotonic() - start


def _truncate(testbed: Testbed, keys: int) -> float:
    """From the COMMIT until the log is empty. The table gets its rows back."""
    _fill(testbed, keys)
    with testbed.postgres() as connection:
        connection.execute("TRUNCATE items")
        start = time.monotonic()
        _until_drained(connection)
        seconds = time.monotonic() - start
        left = _left(testbed)
    testbed.fill_tables(testbed.rows)
    if left:
        raise RuntimeError(f"{left} rows of a table that was emptied are in the cache.")
    return seconds


def _reconcile(testbed: Testbed, keys: int) -> float:
    """From the loss of the incarnation (as after a failover) until all workers serve hits."""
    _fill(testbed, keys)
    start = time.monotonic()
    testbed.redis.delete("cachelayer:incarnation")
    return _until_reconciled(testbed, start)


def _loss(testbed: Testbed, keys: int) -> float:
    """From the kill until all workers serve hits; in between it is started, with nothing saved."""
    del keys
    start = time.monotonic()
    os.kill(testbed.lab.redis_pid, signal.SIGKILL)
    testbed.lab.redis_dump.unlink(missing_ok=True)
    testbed.lab.lab("redis", "start")
    return _until_reconciled(testbed, start)


def _until_reconciled(testbed: Testbed, start: float) -> float:
    """Seconds since *start*, when a trusted incarnation is there and all workers use it."""
    if not wait_until(lambda: _is_trusted(testbed), _PATIENCE):
        raise RuntimeError(f"Redis was not reconciled in {_PATIENCE:.0f} seconds.")
    _wait_for_trust(testbed)
    seconds = time.monotonic() - start
    if left := _left(testbed):
        raise RuntimeError(f"{left} rows that were swept are in the cache.")
    return seconds


def _is_trusted(testbed: Testbed) -> bool:
    # Only processes that serve reads look at what they serve from.
    testbed.outcome(_ROW)
    value: Any = testbed.redis.get("cachelayer:incarnation")
    return b" trusted " in (value or b"")


def _wait_for_trust(testbed: Testbed) -> None:
    """Until reads come from the cache, whichever worker answers."""
    answers: list[bool] = []

    def all_use_it() -> bool:
        answers.append(testbed.outcome(_ROW) in ("HIT", "MISS"))
        return all(answers[-_ANSWERS:]) and len(answers) >= _ANSWERS

    if not wait_until(all_use_it, _PATIENCE):
        raise RuntimeError(f"The cache was not used again in {_PATIENCE:.0f} seconds.")


def _until_drained(connection: Any) -> None:
    def is_empty() -> bool:
        asked = connection.execute("SELECT EXISTS (SELECT FROM cachelayer_repair)")
        return not asked.fetchone()[0]

    if not wait_until(is_empty, _PATIENCE):
        raise RuntimeError(f"The repair log was not empty after {_PATIENCE:.0f} seconds.")


def _fill(testbed: Testbed, keys: int) -> None:
    cache: Any = testbed.redis
    for first in range(1, keys + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, keys)
        cache.eval(POPULATE, 0, first, last, _KEY, _JSON, "3600000")


def _left(testbed: Testbed) -> int:
    """How many of the made-up rows are there."""
    return sum(1 for _ in testbed.redis.scan_iter(match="item:*-9000-*", count=10_000))
