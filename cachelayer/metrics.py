"""What Prometheus may ask, of one process or, in prometheus_client's multiprocess mode, of all.

Children are bound once; those of the hot path are batched.
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Final, ParamSpec, Protocol, TypeVar

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
from prometheus_client.registry import Collector

# Before any metric is registered: what it has noted is added up first.
from cachelayer import batched, conf
from cachelayer.batched import BatchedCounter, BatchedHistogram

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

#: The protocol's operations: the plain commands, and the scripts by their names.
_OPERATIONS: Final = (
    "get", "lease", "stamp", "fill", "mark", "push", "release", "repair", "drop", "other"
)  # fmt: skip
_OF_COMMAND: Final = {
    "GET": "get",
    "MGET": "get",
    "look": "get",
    "document": "get",
    "confirm": "fill",
}

_OUTCOMES: Final = ("hit", "miss", "bypass")
_reads = Counter(
    "cachelayer_reads",
    "Reads through the cache. row: of a row's own columns. document: of other rows as well, or "
    "computed by a function. page: of a list.",
    ["outcome", "kind"],
)
#: By kind and outcome.
reads: Final = {
    (kind, outcome): BatchedCounter(_reads.labels(outcome, kind))
    for kind in ("row", "document", "page")
    for outcome in _OUTCOMES
}

_read = Histogram(
    "cachelayer_read_seconds",
    "Time of a whole read through the cache.",
    ["outcome"],
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1),
)
read_seconds: Final = {outcome: BatchedHistogram(_read.labels(outcome)) for outcome in _OUTCOMES}

_write = Histogram(
    "cachelayer_write_seconds",
    "Time of a committed transaction that wrote cached rows, from its first statement to "
    "the end of its push: total, and of that in Postgres and in Redis.",
    ["part"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_write_seconds: Final = {part: _write.labels(part) for part in ("total", "postgres", "redis")}

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
    "Rows after COMMIT. invalidated: the next reader loads it. superseded: others' marks stand. "
    "lost: the mark was gone. unsent: Redis was away.",
    ["result", "kind"],
)
#: By kind and result. A stamp's is no row: documents that are made under it are invalid.
pushes: Final = {
    (kind, result): _pushes.labels(result, kind)
    for kind in ("row", "document", "stamp")
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


class _Outcome(Protocol):
    @property
    def outcome(self) -> str: ...


Arguments = ParamSpec("Arguments")
Read = TypeVar("Read", bound=_Outcome)


def timed(read: Callable[Arguments, Read]) -> Callable[Arguments, Read]:
    """Make *read* note how long it took, by its outcome."""

    @wraps(read)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Read:
        start = time.perf_counter()
        found = read(*args, **kwargs)
        if conf.get().ENABLED:
            read_seconds[found.outcome].observe(time.perf_counter() - start)
        return found

    return call


def observe_write(total: float, postgres: float, redis: float) -> None:
    """Note a committed transaction that wrote cached rows; seconds."""
    for part, seconds in (("total", total), ("postgres", postgres), ("redis", redis)):
        _write_seconds[part].observe(seconds)


def observe_redis(name: str, seconds: float) -> None:
    """Note a round trip: *name* is that of a command or of a script."""
    (_redis_of_name.get(name) or _redis_seconds["other"]).observe(seconds)


def gate_changed(mode: str) -> None:
    """Note that this process's gate is *mode* from now on."""
    gate_open.set(mode != "closed")
    _gate_changed.set(time.time())
    _gate_changes[mode].inc()


def count_pushes(kinds: Iterable[str], results: Iterable[str]) -> None:
    """Note what became of keys of these *kinds*, one by one."""
    for known, count in Tally(zip(kinds, results, strict=True)).items():
        pushes[known].inc(count)


class CacheCollector:
    """What is looked at when it is asked for; no sample while the server is away that knows."""

    def collect(self) -> Iterator[Metric]:
        from cachelayer import census, stats
        from cachelayer.gate import CacheUnavailable

        with suppress(CacheUnavailable):
            yield GaugeMetricFamily(
                "cachelayer_cached_rows", "Rows that the cache holds.", census.count().rows
            )
        if found := stats.repair_backlog():
            yield GaugeMetricFamily(
                "cachelayer_repair_backlog", "Keys that wait in the repair log.", found.keys
            )
            yield GaugeMetricFamily(
                "cachelayer_repair_lag_seconds",
                "How long the oldest of them has waited.",
                found.lag,
            )


def page(processes: Collector | None = None) -> bytes:
    """Everything in Prometheus's text format, of all processes where they share a folder.

    *processes* collects those, if not in prometheus_client's own way.
    """
    batched.flush()
    registry = CollectorRegistry()
    if processes:
        registry.register(processes)
    elif "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(CacheCollector())
    return generate_latest(registry)
