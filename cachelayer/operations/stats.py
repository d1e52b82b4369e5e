"""The statistics of ``/cache/stats`` and ``cache_stats``, and the cache's part of ``/health``."""

from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, InterfaceError

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable, SwitchedOff
from cachelayer.operations import live_check, row_count
from cachelayer.redis.gate import gate
from cachelayer.telemetry import counters
from cachelayer.tracking import repair_log


def collect() -> dict[str, Any]:
    """The statistics; values that are unknown while Redis or Postgres is away are None.

    ``hit_rate`` is the percentage of hits among hits and misses. Reads that bypass the cache
    (because of marks or an open gate) are counted in ``total_bypasses``.
    """
    try:
        totals = counters.totals()
        rows = row_count.count()
    except CacheUnavailable:
        return _report(None, None, None)
    return _report(totals, rows.rows, rows.exact)


def _report(totals: Any, rows: int | None, exact: bool | None) -> dict[str, Any]:
    return {
        "cached_items": rows,
        "cached_items_exact": exact,
        "total_hits": totals and totals["hit"],
        "total_misses": totals and totals["miss"],
        "total_bypasses": totals and totals["bypass"],
        "hit_rate": totals and hit_rate(totals["hit"], totals["miss"]),
        "redis": "ok" if totals is not None else "down" if conf.get().ENABLED else "off",
        "gate": gate_state(),
        "repair": repair_state(),
        "live_check": live_check.report(totals),
    }


def gate_state() -> dict[str, Any]:
    """The gate of this process."""
    state, is_on = gate.state, conf.get().ENABLED
    return {
        "state": state.mode.value if is_on else "off",
        "since": datetime.fromtimestamp(state.since, UTC).isoformat(timespec="milliseconds"),
        "reason": state.reason if is_on else str(SwitchedOff()),
        "changes": state.changes,
    }


def repair_state() -> dict[str, Any]:
    """The repair log, which all processes share."""
    found = repair_backlog()
    return {
        "backlog": found and found.keys,
        "lag_seconds": found and round(found.lag, 3),
    }


def repair_backlog() -> repair_log.Backlog | None:
    """The keys that wait in the repair log; None while Postgres is away."""
    try:
        return repair_log.backlog()
    except (DatabaseError, InterfaceError):
        return None


def hit_rate(hits: int, misses: int) -> float:
    """Hits in percent of hits and misses, to two decimals; 0 before the first read."""
    reads = hits + misses
    return round(100 * hits / reads, 2) if reads else 0.0
