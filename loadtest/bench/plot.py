"""SVG plots without a library: bars of what was reached of each goal, and curves of growth."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from loadtest.bench.outcome import Outcome

_STYLE: Final = """
  svg { font: 13px system-ui, sans-serif; }
  text { fill: #1f2328; } .faint { fill: #59636e; } .axis { stroke: #d1d9e0; }
  .goal { stroke: #1f2328; stroke-dasharray: 4 3; }
  .met { fill: #1a7f37; } .missed { fill: #bc4c00; } .other { fill: #8c959f; }
  .rate { stroke: #0969da; } .p99 { stroke: #bc4c00; } polyline { fill: none; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .faint { fill: #9198a1; } .axis { stroke: #3d444d; }
    .goal { stroke: #f0f6fc; } .met { fill: #3fb950; } .missed { fill: #f0883e; }
    .other { fill: #6e7681; } .rate { stroke: #58a6ff; } .p99 { stroke: #f0883e; }
  }
"""
WIDTH: Final = 860
LINE: Final = 26
_LABELS: Final = 400
#: Bars end here, however far above its goal a row is.
_MOST: Final = 3.0


def bars(outcomes: Sequence[Outcome]) -> str:
    """How much of its goal each row reached; the dashed line is the goal."""
    room = WIDTH - _LABELS - 90
    height = 40 + LINE * len(outcomes)
    parts = [f'<text x="{_LABELS + room / _MOST:.0f}" y="16" text-anchor="middle">goal</text>']
    for i, outcome in enumerate(outcomes):
        y = 28 + LINE * i
        length = room * min(outcome.share, _MOST) / _MOST
        name = "met" if outcome.met else "missed"
        said = f"{outcome.value:,.2f} {outcome.unit}"
        parts += [
            f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(outcome.what)}</text>',
            f'<rect class="{name}" x="{_LABELS}" y="{y}" width="{length:.0f}" height="18" rx="2"/>',
            f'<text class="faint" x="{_LABELS + length + 6:.0f}" y="{y + 13}">{said}</text>',
        ]
    x = _LABELS + room / _MOST
    parts.append(f'<line class="goal" x1="{x:.0f}" x2="{x:.0f}" y1="22" y2="{height - 8}"/>')
    return svg(WIDTH, height, "What each row reached of its goal", parts)


def curves(sweeps: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One panel for each thing that grows: hits per second, and the 99th percentile."""
    panel, height = WIDTH // 2, 240
    parts: list[str] = []
    for i, (name, points) in enumerate(sweeps.items()):
        left, top = (i % 2) * panel + 56, (i // 2) * height + 34
        parts += _panel(name, points, left, top, panel - 110, height - 80)
    rows = math.ceil(len(sweeps) / 2)
    return svg(WIDTH, rows * height + 10, "How the cost of a hit grows", parts)


def _panel(
    name: str, points: Sequence[Mapping[str, Any]], left: int, top: int, width: int, height: int
) -> list[str]:
    xs = [math.log10(point["x"]) for point in points]
    span = (max(xs) - min(xs)) or 1
    parts = [
        f'<text x="{left}" y="{top - 12}">{escape(name)}: '
        '<tspan class="faint">hits/s (blue), p99 ms (orange)</tspan></text>',
        f'<line class="axis" x1="{left}" x2="{left + width}" y1="{top + height}" '
        f'y2="{top + height}"/>',
    ]
    places = [left + (x - min(xs)) / span * width for x in xs]
    for place, point in zip(places, points, strict=True):
        parts.append(
            f'<text class="faint" x="{place:.0f}" y="{top + height + 16}" '
            f'text-anchor="middle">{point["x"]:,}</text>'
        )
    for key, style, side in (("rate", "rate", "end"), ("p99_ms", "p99", "start")):
        values = [float(point[key]) for point in points]
        most = max(values) or 1
        line = " ".join(
            f"{place:.0f},{top + height - value / most * height:.0f}"
            for place, value in zip(places, values, strict=True)
        )
        x = left - 6 if side == "end" else left + width + 6
        parts += [
            f'<polyline class="{style}" points="{line}"/>',
            f'<text class="faint" x="{x}" y="{top + 5}" text-anchor="{side}">{most:,.0f}</text>',
        ]
    return parts


def svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """*parts* in one picture, in the colours of a light or a dark page."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
