"""The terminal page of ``cache_stats --watch``."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cachelayer import conf
from cachelayer.operations import overview
from cachelayer.operations.overview import Overview
from cachelayer.telemetry.counters import SLICE, Slice

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_PLAIN: Final = ".:-=+*#@"
_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}
_SIGNS: Final = {"ok": "In order", "warning": "Look at this", "error": "Trouble"}
#: Outcome, its total in the statistics, its label, and its style.
_ROWS: Final = (
    ("hit", "total_hits", "hits", "cyan"),
    ("miss", "total_misses", "misses", "white"),
    ("bypass", "total_bypasses", "bypasses", "red"),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The facts, and the reads per second since the last snapshot; None in the first one."""

    facts: Overview
    rates: Mapping[str, float | None]
    #: While Redis is away, the last known history.
    history: Sequence[Slice]

    @classmethod
    def take(cls, before: "Snapshot | None") -> "Snapshot":
        found = overview.collect()
        return cls(
            found,
            {total: _rate(found, before, total) for _, total, *_ in _ROWS},
            found.history or (before.history if before else ()),
        )


def draw(snapshot: Snapshot, console: Console) -> RenderableType:
    """The page, in the width of *console*."""
    found = snapshot.facts
    title = Text.assemble(("cache", "bold"), time.strftime("  %H:%M:%S", time.localtime(found.at)))
    return Panel(
        Group(_verdict(found), Text(), _reads(snapshot, console), Text(), _servers(found)),
        title=title,
        title_align="left",
        subtitle="Ctrl-C ends",
        subtitle_align="right",
        border_style=_STYLES[found.level],
        padding=(1, 2),
    )


def sparkline(values: Sequence[float], width: int, *, plain: bool = False) -> str:
    """The last *width* of *values*, each a block as high as its share of the largest."""
    blocks = _PLAIN if plain else _BLOCKS
    shown = values[-width:]
    top = max(shown, default=0)
    if not top:
        return " " * len(shown)
    return "".join(
        blocks[min(len(blocks) - 1, int(value / top * len(blocks)))] if value else " "
        for value in shown
    )


def _verdict(found: Overview) -> RenderableType:
    lines = Text(_SIGNS[found.level], style=_STYLES[found.level])
    for trouble in found.troubles:
        lines.append(f"\n• {trouble.sentence}", style="default")
    return lines


def _reads(snapshot: Snapshot, console: Console) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    # The space that the border and the other columns leave.
    width = max(10, min(90, console.width - 48))
    for name, total, label, style in _ROWS:
        table.add_row(
            label,
            _number(snapshot.rates[total], ".1f", "/s"),
            Text(_line(snapshot, name, width, plain=console.options.ascii_only), style=style),
            _number(snapshot.facts.stats[total], ",", ""),
        )
    return Group(table, Text(_axis(snapshot, width), style="dim"))


def _axis(snapshot: Snapshot, width: int) -> str:
    found = snapshot.facts
    minutes = min(width, len(snapshot.history)) * SLICE / 60
    rate = "no reads" if found.hit_rate is None else f"{found.hit_rate} %"
    in_all = found.stats["hit_rate"]
    return f"hit rate {rate} in the last minute, {_number(in_all, 'g', ' %')} in all" + (
        f"; the lines go back {minutes:.0f} min" if minutes else ""
    )


def _line(snapshot: Snapshot, name: str, width: int, *, plain: bool) -> str:
    return sparkline([piece.counts[name] for piece in snapshot.history], width, plain=plain)


def _servers(found: Overview) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value, is_well in (_redis(found), _gates(found), _repair(found), _checked(found)):
        table.add_row(name, Text(value, style="default" if is_well else _STYLES["error"]))
    table.add_row("cached rows", _rows(found))
    return table


def _redis(found: Overview) -> tuple[str, str, bool]:
    redis = found.redis
    if redis is None:
        return "Redis", "does not answer", False
    megabytes = redis.memory_used / 2**20
    limit = f" of {redis.memory_limit / 2**20:.0f}" if redis.memory_limit else ""
    return (
        "Redis",
        f"{redis.version}, answers in {redis.answered_in * 1000:.1f} ms; "
        f"{megabytes:.1f}{limit} MB, {redis.policy}, {redis.evicted} evicted",
        True,
    )


def _gates(found: Overview) -> tuple[str, str, bool]:
    passing, known = found.processes.passing_redis, len(found.processes.gates)
    if found.processes.all_known:
        return "gates", f"{passing} of {known} processes bypass Redis", not passing
    gate = found.stats["gate"]
    reason = f": {gate['reason']}" if gate["reason"] else ""
    return "gate", f"{gate['state']} (this process){reason}", not passing


def _repair(found: Overview) -> tuple[str, str, bool]:
    repair = found.stats["repair"]
    if repair["backlog"] is None:
        return "repair log", "unknown while Postgres is away", False
    runs = "cache_repair runs" if found.repairers else "no cache_repair is seen"
    late = repair["lag_seconds"] > overview.LATE * conf.get().DRAIN_INTERVAL
    waits = f"{repair['backlog']} keys wait, the oldest for {repair['lag_seconds']} s"
    return "repair log", f"{waits}; {runs}", not late


def _checked(found: Overview) -> tuple[str, str, bool]:
    check = found.stats["live_check"]
    if check["checked"] is None:
        return "live check", "unknown while Redis is away", False
    said = f"{check['stale']} of {check['checked']} checked hits were stale"
    if check["upper_bound"] is not None:
        said += f"; below {check['upper_bound'] * 100:.3g} % of all hits (95 %)"
    return "live check", said, not check["stale"]


def _rows(found: Overview) -> str:
    if found.stats["cached_items"] is None:
        return "unknown while Redis is away"
    about = "" if found.stats["cached_items_exact"] else "about "
    return f"{about}{_number(found.stats['cached_items'], ',', '')}"


def _rate(found: Overview, before: Snapshot | None, total: str) -> float | None:
    if before is None:
        return None
    now, then = found.stats[total], before.facts.stats[total]
    passed = found.at - before.facts.at
    if now is None or then is None or passed <= 0:
        return None
    # A count below the last one means that Redis was emptied.
    rate: float = max(0.0, (now - then) / passed)
    return rate


def _number(value: Any, form: str, unit: str) -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
