"""The columns in which ways to serve documents are compared, on a terminal and in the docs."""

from collections.abc import Mapping
from typing import Any, Final

COLUMNS: Final = (
    "stale reads",
    "longest, ms",
    "stale at rest",
    "held reader",
    "hits",
    "queries a read",
    "reads/s",
    "writes/s",
    "a write, ms",
)


def cells(way: Mapping[str, Any]) -> list[str]:
    """One for each of the columns."""
    return [
        f"{way['stale']:,} of {way['reads']:,}",
        f"{way['longest_ms']:,.0f}" if way["stale"] else "",
        f"{way['left']:,}",
        way["held_up"],
        f"{way['hit_rate']:.1%}",
        f"{way['queries_of_a_read']:.2f}",
        f"{way['reads_per_s']:,.0f}",
        f"{way['writes_per_s']:,.0f}",
        f"{way['write_ms']:.1f}",
    ]
