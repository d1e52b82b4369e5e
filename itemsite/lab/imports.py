"""``./lab imports``: a picture of who imports whom in ``cachelayer``, as SVG."""

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.progress import say
from itemsite.lab.rooms import PACKAGE, Arrow, Layers, arrows, statements

DEFAULT: Final = ROOT / "var" / "imports.svg"
_WIDTH: Final = 1240
_STEP: Final = 118
_HEIGHT: Final = 40
_TOP: Final = 96
#: Where the only room of a layer stands: not below the one above it, so that no arrow hides
#: another.
_COLUMNS: Final = (0.5, 0.2, 0.78, 0.36, 0.62)
_STYLE: Final = """
text { font: 14px system-ui, sans-serif; fill: #1c2733; text-anchor: middle }
.title { font-size: 18px; font-weight: 600 }
.note { fill: #5a6775 }
.layer { fill: #f3f6f9 }
.room rect { fill: #fff; stroke: #35506b; stroke-width: 1.5 }
.room text { font-weight: 600 }
.arrow path { fill: none; stroke: #7d93a8; stroke-opacity: .75 }
.arrow text { font-size: 11px; fill: #35506b; paint-order: stroke; stroke: #fff; stroke-width: 4px }
.arrow:hover path { stroke: #0b63ce; stroke-opacity: 1 }
.against path { stroke: #d1242f; stroke-opacity: 1 }
.against text { fill: #d1242f; font-weight: 700 }
"""


class Box(NamedTuple):
    """A room in the picture, by its middle."""

    x: float
    y: float
    width: float


def run(path: Path | None) -> int:
    """Draw the picture at *path* (default: ``var/imports.svg``); 1 if an import is forbidden."""
    import grimp

    layers, graph = Layers.of_contract(), grimp.build_graph(PACKAGE)
    found = arrows(graph, layers)
    target = path or DEFAULT
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(draw(layers, found))
    forbidden = [arrow for arrow in found if layers.forbid(arrow)]
    total = sum(arrow.count for arrow in found)
    say(
        f"lab: drew {target}: {total} imports between {len(_boxes(layers))} rooms, "
        f"{sum(arrow.count for arrow in forbidden)} against the layers."
    )
    for arrow in forbidden:
        say(
            f"lab: {arrow.importer} may not import {arrow.imported}, which stands no lower. "
            "Move what is needed into a lower room, or announce it as an event:",
            sys.stderr,
        )
        for statement in statements(graph, layers, arrow):
            say(f"  {statement}", sys.stderr)
    return 1 if forbidden else 0


def draw(layers: Layers, found: Sequence[Arrow]) -> str:
    """The rooms in their layers, highest first; arrows against the layers in red."""
    boxes = _boxes(layers)
    height = _TOP + _STEP * len(layers.names)
    forbidden = sum(layers.forbid(arrow) for arrow in found)
    # Red ones last, so that nothing covers them.
    ordered = sorted(found, key=layers.forbid)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="Imports of {PACKAGE}">',
        f"<style>{_STYLE}</style>",
        *_heads(),
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{_WIDTH / 2}" y="34">The rooms of {PACKAGE}</text>',
        f'<text class="note" x="{_WIDTH / 2}" y="58">An arrow points to the room that is imported, '
        "with the number of import statements. "
        f"Against the layers: {forbidden or 'none'}.</text>",
        *_stripes(layers),
        *(_arrow(arrow, boxes, layers) for arrow in ordered),
        *(_room(name, box) for name, box in boxes.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(layers: Layers) -> dict[str, Box]:
    boxes = {}
    single = 0
    for i, names in enumerate(layers.names):
        y = _TOP + _STEP * i + _STEP / 2
        if len(names) == 1:
            places = [_COLUMNS[single % len(_COLUMNS)]]
            single += 1
        else:
            places = [(n + 0.5) / len(names) for n in range(len(names))]
        for name, place in zip(names, places, strict=True):
            boxes[name] = Box(place * _WIDTH, y, 26 + 8.6 * len(name))
    return boxes


def _stripes(layers: Layers) -> Iterator[str]:
    for i in range(len(layers.names)):
        y = _TOP + _STEP * i + (_STEP - _HEIGHT) / 2 - 10
        yield f'<rect class="layer" x="8" y="{y}" width="{_WIDTH - 16}" height="{_HEIGHT + 20}"/>'


def _heads() -> Iterator[str]:
    for name, colour in (("head", "#7d93a8"), ("red", "#d1242f")):
        yield (
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
            'markerHeight="9" orient="auto" markerUnits="userSpaceOnUse">'
            f'<path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        )


def _arrow(arrow: Arrow, boxes: dict[str, Box], layers: Layers) -> str:
    begin, end = boxes[arrow.importer], boxes[arrow.imported]
    against = layers.forbid(arrow)
    down = 1 if end.y >= begin.y else -1
    # They leave and arrive side by side, ordered by where they go.
    x1 = begin.x + _spread(end.x - begin.x, begin.width)
    x2 = end.x + _spread(begin.x - end.x, end.width)
    y1, y2 = begin.y + down * _HEIGHT / 2, end.y - down * _HEIGHT / 2
    bend = (y2 - y1) * 0.45
    # Where few others are: near the arrow's end, the longer the nearer.
    t = 0.5 if abs(end.y - begin.y) <= _STEP else 1 - 0.33 * _STEP / abs(end.y - begin.y)
    x, y = _point(t, (x1, x1, x2, x2)), _point(t, (y1, y1 + bend, y2 - bend, y2))
    width = min(5.0, 1 + arrow.count / 12)
    names = escape(f"{arrow.importer} imports {arrow.imported}: {arrow.count}")
    return (
        f'<g class="arrow{" against" if against else ""}"><title>{names}</title>'
        f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
        f'{x2:.1f} {y2:.1f}" stroke-width="{width:.1f}" '
        f'marker-end="url(#{"red" if against else "head"})"/>'
        f'<text x="{x:.1f}" y="{y:.1f}">{arrow.count}</text></g>'
    )


def _spread(distance: float, width: float) -> float:
    """How far from the middle of a box of *width* an arrow to something so far away begins."""
    return distance / _WIDTH * (width - 16)


def _point(t: float, at: tuple[float, float, float, float]) -> float:
    """On a cubic Bézier curve."""
    a, b, c, d = at
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def _room(name: str, box: Box) -> str:
    return (
        f'<g class="room"><rect x="{box.x - box.width / 2:.1f}" y="{box.y - _HEIGHT / 2}" '
        f'width="{box.width:.1f}" height="{_HEIGHT}" rx="7"/>'
        f'<text x="{box.x:.1f}" y="{box.y + 5}">{escape(name)}</text></g>'
    )
