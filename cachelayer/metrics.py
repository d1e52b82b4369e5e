"""What Prometheus may ask, of one process or, in prometheus_client's multiprocess mode, of all.

Children are bound once; those of the hot path are batched.
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

# Before any metric is registered: what it has noted is added up first.
from cachelayer import batched
from cachelayer.batched import BatchedCounter, BatchedHistogram

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

#: The protocol's operations: the plain commands, and the scripts by their names.
_OPERATIONS: Final = ("get", "lease", "fill", "mark", "push", "repair", "drop", "other")
_OF_COMMAND: Final = {"GET": "get", "MGET": "get", "SET": "mark"}

_reads = Counter("cachelayer_reads", "Reads of cached rows.", ["outcome"])
reads: Final = {
    outcome: BatchedCounter(_reads.labels(outcome)) for outcome in ("hit", "miss", "bypass")
}

_redis = Histogram(
    "cachelayer_redis_seconds",
    "Time of one round trip to Redis, also of one that failed.",
    ["operation"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
_redis_seconds: Final = {name: BatchedHistogram(_redis.labels(name)) for name in _OPERATIONS}

#: Live ones only: a worker that was killed with an open gate is no open gate.
gate_open: Final = Gauge(
    "cachelayer_gate_open",
    "How many processes go past Redis now (gate open, or settling).",
    multiprocess_mode="livesum",
)
_gate_changed = Gauge(
    "cachelayer_gate_changed_timestamp_seconds",
    "When a gate last changed, in any process; 0: never.",
    multiprocess_mode="livemax",
)
_changes = Counter("cachelayer_gate_changes", "Changes of a gate's mode.", ["to"])
_gate_changes: Final = {mode: _changes.labels(mode) for mode in ("closed", "settling", "open")}

_pushes = Counter(
    "cachelayer_pushes",
    "Rows after COMMIT. superseded: a later writer pushes. lost: the mark was gone. "
    "unsent: Redis was away.",
    ["result"],
)
pushes: Final = {
    result: _pushes.labels(result)
    for result in ("pushed", "invalidated", "superseded", "lost", "unsent")
}

stampede_waits: Final = Counter(
    "cachelayer_stampede_waits", "Reads that waited for the row that another was loading."
)
checked_reads: Final = Counter(
    "cachelayer_checked_reads", "Hits that the live check compared with Postgres."
)
stale_reads: Final = Counter(
    "cachelayer_stale_reads", "Hits that the live check found to be older than Postgres."
)


_redis_of_name: Final = _redis_seconds | {
    command: _redis_seconds[name] for command, name in _OF_COMMAND.items()
}


def observe_redis(name: str, seconds: float) -> None:
    """Note a round trip: *name* is that of a command or of a script."""
    (_redis_of_name.get(name) or _redis_seconds["other"]).observe(seconds)


def gate_changed(mode: str) -> None:
    """Note that this process's gate is *mode* from now on."""
    gate_open.set(mode != "closed")
    _gate_changed.set(time.time())
    _gate_changes[mode].inc()


def count_pushes(results: Iterable[str]) -> None:
    for result, count in Tally(results).items():
        pushes[result].inc(count)


class RepairCollector:
    """The repair log, looked at when it is asked for; no sample while Postgres is away."""

    def collect(self) -> Iterator[Metric]:
        from cachelayer import stats

        found = stats.repair_backlog()
        if found is None:
            return
        yield GaugeMetricFamily(
            "cachelayer_repair_backlog", "Keys that wait in the repair log.", found.keys
        )
        yield GaugeMetricFamily(
            "cachelayer_repair_lag_seconds",
            "How long the oldest of them has waited.",
            found.lag,
        )


def page() -> bytes:
    """Everything in Prometheus's text format, of all processes where they share a folder."""
    batched.flush()
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(RepairCollector())
    return generate_latest(registry)
