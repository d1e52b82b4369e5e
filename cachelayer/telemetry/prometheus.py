"""The Prometheus metrics of one process or, in prometheus_client's multiprocess mode, of all.

Children are bound once; those of the hot path are buffered.
"""

import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

# Imported before any metric is registered, so that notes are added up first.
from cachelayer import events
from cachelayer.representation import registry
from cachelayer.telemetry.buffered_metrics import BatchedCounter, BatchedHistogram

#: The protocol's operations: plain commands, and scripts by name.
_OPERATIONS: Final = (
    "get", "lease", "stamp", "fill", "mark", "push", "release", "repair", "drop", "other"
)  # fmt: skip
_OF_COMMAND: Final = {
    "GET": "get",
    "MGET": "get",
    "get_verified": "get",
    "document": "get",
    "confirm": "fill",
}

_OUTCOMES: Final = ("hit", "miss", "bypass")
_reads = Counter(
    "cachelayer_reads",
    "Reads through the cache. row: of a row's own columns. document: also of other rows, or "
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
    "the end of its push: in total, in Postgres and in Redis.",
    ["part"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_write_seconds: Final = {part: _write.labels(part) for part in ("total", "postgres", "redis")}

_redis = Histogram(
    "cachelayer_redis_seconds",
    "Time of one round trip to Redis, also if it failed.",
    ["operation"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
_redis_seconds: Final = {name: BatchedHistogram(_redis.labels(name)) for name in _OPERATIONS}

#: Only live processes count: the open gate of a killed worker does not.
gate_open: Final = Gauge(
    "cachelayer_gate_open",
    "How many processes bypass Redis now (gate open or settling).",
    multiprocess_mode="livesum",
)
_gate_changed = Gauge(
    "cachelayer_gate_changed_timestamp_seconds",
    "When a gate last changed in any process; 0: never.",
    multiprocess_mode="livemax",
)
_changes = Counter("cachelayer_gate_changes", "Changes of a gate's mode.", ["to"])
_gate_changes: Final = {mode: _changes.labels(mode) for mode in ("closed", "settling", "open")}

_pushes = Counter(
    "cachelayer_pushes",
    "Rows after COMMIT. invalidated: the next reader loads it. superseded: other writers' marks "
    "are there. lost: the mark was gone. unsent: Redis was away.",
    ["result", "kind"],
)
#: By kind and result. A stamp is not a row; its push makes the documents under it invalid.
pushes: Final = {
    (kind, result): _pushes.labels(result, kind)
    for kind in ("row", "document", "stamp")
    for result in ("pushed", "invalidated", "superseded", "lost", "unsent")
}

_stampede_waits: Final = Counter(
    "cachelayer_stampede_waits", "Reads that waited for a row that another reader was loading."
)
_checked_reads: Final = Counter(
    "cachelayer_checked_reads", "Hits that the live check compared with Postgres."
)
_stale_reads: Final = Counter(
    "cachelayer_stale_reads", "Hits that the live check found to be older than Postgres."
)


_redis_of_name: Final = _redis_seconds | {
    command: _redis_seconds[name] for command, name in _OF_COMMAND.items()
}


def listen() -> None:
    """Count and time the announced events from now on."""
    events.read_ended.listen(_read_ended)
    events.round_trip_ended.listen(observe_redis)
    events.write_ended.listen(_write_ended)
    events.pushed.listen(_pushed)
    events.gate_changed.listen(_gate_changed_to)
    events.stampede_waited.listen(_stampede_waits.inc)
    events.hit_checked.listen(_hit_checked)


def count_from_now() -> None:
    """Make this process known, though it has not counted anything: a server has just forked it.

    prometheus_client makes the files of a forked process when it first counts.
    """
    gate_open.inc(0)


def _read_ended(kind: str, outcome: str, seconds: float | None) -> None:
    reads[kind, outcome].inc()
    if seconds is not None:
        read_seconds[outcome].observe(seconds)


def _write_ended(total: float, postgres: float, redis: float) -> None:
    for part, seconds in (("total", total), ("postgres", postgres), ("redis", redis)):
        _write_seconds[part].observe(seconds)


def observe_redis(name: str, seconds: float) -> None:
    """Note a round trip; *name* is the name of a command or of a script."""
    (_redis_of_name.get(name) or _redis_seconds["other"]).observe(seconds)


def _gate_changed_to(mode: str) -> None:
    gate_open.set(mode != "closed")
    _gate_changed.set(time.time())
    _gate_changes[mode].inc()


def _pushed(keys: Sequence[str], results: Sequence[str]) -> None:
    for known, count in Tally(zip(map(registry.kind_of, keys), results, strict=True)).items():
        pushes[known].inc(count)


def _hit_checked(stale: bool) -> None:
    _checked_reads.inc()
    if stale:
        _stale_reads.inc()
