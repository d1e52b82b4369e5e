"""``./lab imports``: a picture of who imports whom in ``cachelayer``, as SVG."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from itertools import cycle
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
_MARGIN: Final = 20
#: Between two arrows at a box: a number of two digits fits.
_PORT: Final = 19
_STYLE: Final = """
text { font: 14px system-ui, sans-serif; fill: #1c2733; text-anchor: middle }
.title { font-size: 18px; font-weight: 600 }
.note { fill: #5a6775 }
.layer { fill: #f3f6f9 }
.room rect { fill: #fff; stroke: #35506b; stroke-width: 1.5 }
.room text { font-weight: 600 }
.arrow path { fill: none; stroke: #7d93a8; stroke-opacity: .75 }
.number { font-size: 11px; fill: #35506b; paint-order: stroke; stroke: #f3f6f9; stroke-width: 4px }
.arrow:hover path { stroke: #0b63ce; stroke-opacity: 1 }
.against path { stroke: #d1242f; stroke-opacity: 1 }
.number.against { fill: #d1242f; font-weight: 700 }
"""


class Box(NamedTuple):
    """A room in the picture, by its middle."""

    x: float
    y: float
    width: float


class Ends(NamedTuple):
    """Where an arrow leaves one box and reaches another; +1 is a box's lower side."""

    start: tuple[float, float]
    start_side: int
    tip: tuple[float, float]
    tip_side: int


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
        f"lab: drew {target}: {total} imports between {sum(map(len, layers.names))} rooms, "
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
    boxes = _boxes(layers, found)
    height = _TOP + _STEP * len(layers.names)
    forbidden = sum(layers.forbid(arrow) for arrow in found)
    ends = _ends(found, boxes)
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
        *(_line(arrow, ends[arrow], layers.forbid(arrow)) for arrow in ordered),
        *(_room(name, box) for name, box in boxes.items()),
        *(_number(arrow, ends[arrow], layers.forbid(arrow)) for arrow in ordered),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(layers: Layers, found: Sequence[Arrow]) -> dict[str, Box]:
    """As wide as the name and the arrows need."""
    arrive, leave = Counter(a.imported for a in found), Counter(a.importer for a in found)
    boxes = {}
    columns = cycle(_COLUMNS)
    for i, names in enumerate(layers.names):
        y = _TOP + _STEP * (i + 0.5)
        widths = [
            max(26 + 8.6 * len(name), _PORT * arrive[name], _PORT * leave[name]) for name in names
        ]
        if len(names) == 1:
            boxes[names[0]] = Box(next(columns) * _WIDTH, y, widths[0])
            continue
        gap = (_WIDTH - 2 * _MARGIN - sum(widths)) / len(names)
        x = _MARGIN + gap / 2
        for name, width in zip(names, widths, strict=True):
            boxes[name] = Box(x + width / 2, y, width)
            x += width + gap
    return boxes


def _ends(found: Sequence[Arrow], boxes: dict[str, Box]) -> dict[Arrow, Ends]:
    """At each side of a box arrows stand apart, in the order of where they go."""
    ports: dict[tuple[str, int], list[tuple[float, Arrow]]] = defaultdict(list)
    sides = {arrow: _sides(arrow, boxes) for arrow in found}
    for arrow, (start, tip) in sides.items():
        ports[arrow.importer, start].append((boxes[arrow.imported].x, arrow))
        ports[arrow.imported, tip].append((boxes[arrow.importer].x, arrow))
    at = {}
    for (room, side), there in ports.items():
        box = boxes[room]
        for i, (_, arrow) in enumerate(sorted(there)):
            x = box.x + ((i + 0.5) / len(there) - 0.5) * (box.width - 10)
            at[arrow, room] = (x, box.y + side * _HEIGHT / 2)
    return {
        arrow: Ends(at[arrow, arrow.importer], start, at[arrow, arrow.imported], tip)
        for arrow, (start, tip) in sides.items()
    }


def _sides(arrow: Arrow, boxes: dict[str, Box]) -> tuple[int, int]:
    begin, end = boxes[arrow.importer].y, boxes[arrow.imported].y
    if begin == end:
        return 1, 1
    return (1, -1) if end > begin else (-1, 1)


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


def _line(arrow: Arrow, ends: Ends, against: bool) -> str:
    (x1, y1), (x2, y2) = ends.start, ends.tip
    bend = max(_STEP / 2, abs(y2 - y1) * 0.45)
    width = min(5.0, 1 + arrow.count / 12)
    text = escape(f"{arrow.importer} imports {arrow.imported}: {arrow.count}")
    return (
        f'<g class="arrow{" against" if against else ""}"><title>{text}</title>'
        f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + ends.start_side * bend:.1f} '
        f'{x2:.1f} {y2 + ends.tip_side * bend:.1f} {x2:.1f} {y2:.1f}" '
        f'stroke-width="{width:.1f}" marker-end="url(#{"red" if against else "head"})"/></g>'
    )


def _number(arrow: Arrow, ends: Ends, against: bool) -> str:
    """How many imports, beside the tip."""
    x, y = ends.tip
    y += 18 if ends.tip_side > 0 else -12
    name = "number against" if against else "number"
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{arrow.count}</text>'


def _room(name: str, box: Box) -> str:
    return (
        f'<g class="room"><rect x="{box.x - box.width / 2:.1f}" y="{box.y - _HEIGHT / 2}" '
        f'width="{box.width:.1f}" height="{_HEIGHT}" rx="7"/>'
        f'<text x="{box.x:.1f}" y="{box.y + 5}">{escape(name)}</text></g>'
    )
