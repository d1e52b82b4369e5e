"""What ``/cache/stats`` and ``manage.py cache_stats`` say."""

from datetime import UTC, datetime
from typing import Any

from cachelayer import census, counters
from cachelayer.gate import CacheUnavailable, gate


def collect() -> dict[str, Any]:
    """The statistics; what nobody can know while Redis is away is None.

    ``hit_rate`` is in percent of the reads that the cache could answer, hits and
    misses. Reads past it (marks, an open gate) are ``total_bypasses``.
    """
    try:
        totals = counters.totals()
        rows = census.count()
    except CacheUnavailable:
        return _report(None, None, None)
    return _report(totals, rows.rows, rows.exact)


def _report(totals: Any, rows: int | None, exact: bool | None) -> dict[str, Any]:
    state = gate.state
    return {
        "cached_items": rows,
        "cached_items_exact": exact,
        "total_hits": totals and totals["hit"],
        "total_misses": totals and totals["miss"],
        "total_bypasses": totals and totals["bypass"],
        "hit_rate": totals and hit_rate(totals["hit"], totals["miss"]),
        "redis": "down" if totals is None else "ok",
        "gate": {
            "state": state.mode.value,
            "since": datetime.fromtimestamp(state.since, UTC).isoformat(timespec="milliseconds"),
            "reason": state.reason,
        },
    }


def hit_rate(hits: int, misses: int) -> float:
    """Hits in percent of hits and misses, to two decimals; 0 before the first read."""
    reads = hits + misses
    return round(100 * hits / reads, 2) if reads else 0.0
