"""Charts as SVG, in the admin's own colours (see ``cachelayer/cache.css``), without a script."""

import math
from collections.abc import Sequence
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from cachelayer.operations.stats import hit_rate
from cachelayer.telemetry.counters import SLICE, Slice
from cachelayer.telemetry.processes import Latency

OUTCOMES: Final = ("hit", "miss", "bypass")

_WIDTH: Final = 480
_HEIGHT: Final = 170
_LEFT: Final = 46
_RIGHT: Final = 8
_TOP: Final = 10
_BOTTOM: Final = 24
_ROW: Final = 26


def reads(history: Sequence[Slice]) -> SafeString:
    """Reads per second, stacked by outcome."""
    rates = [sum(piece.counts[name] for name in OUTCOMES) / SLICE for piece in history]
    top = nice_ceiling(max(rates, default=0.0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(history))
    paths: dict[str, list[str]] = {name: [] for name in OUTCOMES}
    for i, piece in enumerate(history):
        base = 0.0
        for name in OUTCOMES:
            rate = piece.counts[name] / SLICE
            if rate:
                left, low, high = _LEFT + i * step, _y(base, top), _y(base + rate, top)
                paths[name].append(f"M{left:.1f} {low:.1f}V{high:.1f}h{step * 0.85:.1f}V{low:.1f}z")
            base += rate
    now = rates[-2] if len(rates) > 1 else 0.0
    summary = (
        f"Reads per second over the last {_minutes(history)} minutes, by outcome: {now:.1f} now, "
        f"{max(rates, default=0):.1f} at most."
    )
    bars = format_html_join(
        "", '<path class="{}" d="{}"/>', ((name, "".join(paths[name])) for name in OUTCOMES)
    )
    return _svg(summary, _HEIGHT, _axes(history, [0, top / 2, top], top, "") + bars)


def hit_rates(history: Sequence[Slice]) -> SafeString:
    """Hits in percent of hits and misses; a gap for each slice without reads."""
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(history))
    path, pen, last = [], "M", None
    for i, piece in enumerate(history):
        if not piece.counts["hit"] + piece.counts["miss"]:
            pen = "M"
            continue
        last = hit_rate(piece.counts["hit"], piece.counts["miss"])
        left, y = _LEFT + i * step, _y(last, 100)
        # Each step is as wide as its slice, so that a single one is visible, too.
        path.append(f"{pen}{left:.1f} {y:.1f}h{step:.1f}")
        pen = "L"
    found = "no reads" if last is None else f"{last:g} % at last"
    summary = f"Hit rate over the last {_minutes(history)} minutes: {found}."
    line = format_html('<path class="line" d="{}"/>', "".join(path))
    return _svg(summary, _HEIGHT, _axes(history, [0, 50, 100], 100, " %") + line)


def latencies(found: Sequence[Latency]) -> SafeString:
    """For each operation, a bar from the median to the 99th percentile, on a log scale."""
    height = _TOP + _ROW * max(1, len(found)) + _BOTTOM
    low, high = 1e-4, max([1e-2, *(latency.p99 for latency in found)])
    left, width = 70, _WIDTH - 70 - 26

    def x(seconds: float) -> float:
        share = math.log(max(seconds, low) / low) / math.log(high / low)
        return left + width * min(1.0, share)

    marks = [mark for mark in (1e-4, 1e-3, 1e-2, 1e-1, 1.0) if mark <= high]
    parts = [
        format_html(
            '<path class="grid" d="M{0} {1}V{2}"/><text x="{0}" y="{3}" class="middle">{4}</text>',
            f"{x(mark):.1f}", _TOP, height - _BOTTOM, height - 6, f"{mark * 1000:g} ms",
        )
        for mark in marks
    ]  # fmt: skip
    for i, latency in enumerate(found):
        middle = _TOP + _ROW * i + _ROW / 2
        first, last = x(latency.median), x(latency.p99)
        parts.append(
            format_html(
                '<text x="{}" y="{}" class="end">{}</text>'
                '<path class="bar" d="M{} {}H{}"/><path class="dot" d="M{} {}v12"/>',
                left - 8, f"{middle + 5:.1f}", latency.operation,
                f"{first:.1f}", middle, f"{max(last, first + 1):.1f}",
                f"{first:.1f}", middle - 6,
            )
        )  # fmt: skip
    summary = "Round trips to Redis, median and 99th percentile: " + (
        "; ".join(
            f"{latency.operation} {latency.median * 1000:.2f} and {latency.p99 * 1000:.2f} ms"
            for latency in found
        )
        or "none yet"
    )
    return _svg(f"{summary}.", height, mark_safe("".join(parts)))


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … that is at least *value*."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _svg(summary: str, height: int, content: SafeString) -> SafeString:
    return format_html(
        '<svg class="cache-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        _WIDTH, height, summary, content,
    )  # fmt: skip


def _axes(history: Sequence[Slice], marks: Sequence[float], top: float, unit: str) -> SafeString:
    lines = format_html_join(
        "",
        '<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" class="end">{}{}</text>',
        (
            (_LEFT, f"{_y(mark, top):.1f}", _WIDTH - _RIGHT, _LEFT - 6,
             f"{_y(mark, top) + 5:.1f}", f"{mark:g}", unit)
            for mark in marks
        ),
    )  # fmt: skip
    ends = format_html(
        '<text x="{}" y="{}">{} min ago</text><text x="{}" y="{}" class="end">now</text>',
        _LEFT, _HEIGHT - 6, _minutes(history), _WIDTH - _RIGHT, _HEIGHT - 6,
    )  # fmt: skip
    return lines + ends


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _minutes(history: Sequence[Slice]) -> str:
    return f"{len(history) * SLICE / 60:g}"
