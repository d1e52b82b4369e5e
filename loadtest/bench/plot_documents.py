"""The plot of the ways to serve documents: a block for each load, a panel for each measure."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from loadtest.bench.plot import LINE, WIDTH, svg

_LABELS: Final = 220
_HEAD: Final = 62
#: Of a panel: all of it, and its bars, which leave room for a number.
_PANEL: Final = (WIDTH - _LABELS) // 4
_ROOM: Final = _PANEL - 62
_MEASURES: Final[Sequence[tuple[str, str, Callable[[float], str]]]] = (
    ("stale reads", "stale", "{:,.0f}".format),
    ("hit rate", "hit_rate", "{:.1%}".format),
    ("reads/s", "reads_per_s", "{:,.0f}".format),
    ("writes/s", "writes_per_s", "{:,.1f}".format),
)


def panels(loads: Sequence[Mapping[str, Any]]) -> str:
    """One block below another. What is stale is coloured as a missed goal, ours as a met one."""
    parts: list[str] = []
    top = 0
    for load in loads:
        parts.append(f'<text x="8" y="{top + 20}">{escape(load["what"])}</text>')
        for i, way in enumerate(load["ways"]):
            y = top + _HEAD + LINE * i + 13
            parts.append(
                f'<text x="{_LABELS - 10}" y="{y}" text-anchor="end">{escape(way["title"])}</text>'
            )
        for i, measure in enumerate(_MEASURES):
            parts += _panel(load["ways"], measure, _LABELS + i * _PANEL, top)
        top += _HEAD + LINE * len(load["ways"]) + 14
    return svg(WIDTH, top, "Ways to serve documents", parts)


def _panel(
    ways: Sequence[Mapping[str, Any]],
    measure: tuple[str, str, Callable[[float], str]],
    left: int,
    top: int,
) -> list[str]:
    name, key, said = measure
    most = max(float(way[key]) for way in ways) or 1.0
    parts = [f'<text class="faint" x="{left}" y="{top + 46}">{name}</text>']
    for i, way in enumerate(ways):
        y = top + _HEAD + LINE * i
        value = float(way[key])
        length = _ROOM * value / most
        colour = "missed" if key == "stale" else "met" if way["way"] == "cachelayer" else "other"
        parts += [
            f'<rect class="{colour}" x="{left}" y="{y}" width="{length:.1f}" height="18" rx="2"/>',
            f'<text class="faint" x="{left + length + 5:.0f}" y="{y + 13}">{said(value)}</text>',
        ]
    return parts
