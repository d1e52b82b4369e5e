"""The same costs on a Redis Cluster, where each read is verified; and the loss of one primary."""

import statistics
import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.plan import rates
from loadtest.bench.say import say
from loadtest.bench.testbed import HOT, Testbed
from loadtest.bench.wrk import Load
from loadtest.isolated_lab import wait_until
from loadtest.redis_servers import RedisCluster

#: Rows in most of the 256 shards, and so of every node; both workers answer for each.
_ROWS: Final = 200
#: Seconds that a loss may take.
_PATIENCE: Final = 120.0


def measure(directory: Path, rows: int, repeats: int, seconds: float) -> dict[str, Any]:
    """The costs as ``rates.measure`` says them, and the seconds of a loss, on servers of its own.

    Raises ``RuntimeError`` if they do not start, or if the cache is not used again.
    """
    say("Starting a lab on a Redis Cluster")
    directory.mkdir()
    directory.chmod(0o711)
    cluster = RedisCluster(directory / "redis")
    try:
        testbed = _Testbed(directory, rows, cluster, cluster.start())
        try:
            testbed.start()
            # A new cluster's shards are not trusted yet.
            _last_bypass(testbed)
            costs = rates.measure(testbed, repeats, seconds)
            say("a primary killed")
            losses = [_loss(testbed, cluster) for _ in range(repeats)]
        finally:
            testbed.stop()
    finally:
        cluster.stop()
    loss = {
        "name": "takeover",
        "what": "a primary of a Redis Cluster killed",
        "keys": 0,
        "seconds": round(statistics.median(losses), 2),
        "spread": [round(min(losses), 2), round(max(losses), 2)],
    }
    return {"rates": costs, "loss": loss}


class _Testbed(Testbed):
    def __init__(
        self, directory: Path, rows: int, cluster: RedisCluster, settings: Mapping[str, str]
    ) -> None:
        super().__init__(directory, rows, **settings)
        self._cluster = cluster

    def servers(self) -> dict[str, list[int]]:
        return {"postgres": [self.lab.postgres_pid], "redis": self._cluster.primary_pids()}

    def warm(self, name: str, load: Load = HOT) -> None:
        """Walk over its rows: a run says afterwards how many of its reads were hits."""
        walked = 0
        while walked < 2 * load.count:
            walked += wrk.once(self.peer(name), Load("walk", load.first, load.count), 1).requests


def _loss(testbed: Testbed, cluster: RedisCluster) -> float:
    """Seconds from the kill of a primary until the last read past the cache.

    Its replica takes over; it is started again afterwards, as the next replica.
    """
    _last_bypass(testbed)
    start = time.monotonic()
    with cluster.without_a_primary():
        return _last_bypass(testbed) - start


def _last_bypass(testbed: Testbed) -> float:
    """Wait until the reads of all nodes come from the cache; when the last one before did not."""
    numbers = cycle(range(1, _ROWS + 1))
    last, in_a_row = time.monotonic(), 0

    def all_use_it() -> bool:
        nonlocal last, in_a_row
        path = f"/items/00000000-0000-4000-8000-{next(numbers):012x}"
        in_a_row += 1
        if testbed.outcome(path) == "BYPASS":
            last, in_a_row = time.monotonic(), 0
        return in_a_row >= 2 * _ROWS

    if not wait_until(all_use_it, _PATIENCE):
        raise RuntimeError(f"The cache was not used again in {_PATIENCE:.0f} seconds.")
    return last
