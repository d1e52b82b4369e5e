"""The rooms of ``cachelayer``, the layers that they stand in, and who imports whom.

A room is a sub-package of ``cachelayer`` or a module that stands directly in it. The layers are
those of the contract "the rooms of cachelayer", which lint-imports enforces.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError

if TYPE_CHECKING:
    from grimp import ImportGraph

PACKAGE: Final = "cachelayer"
CONTRACT: Final = "the rooms of cachelayer"


@dataclass(frozen=True, order=True)
class Arrow:
    """*count* import statements in *importer* that name *imported*, another room."""

    importer: str
    imported: str
    count: int


@dataclass(frozen=True)
class Layers:
    """The layers, highest first; *ignored* rooms (tests, the model) are in none."""

    names: tuple[tuple[str, ...], ...]
    #: Of these layers, a room may not import its neighbours.
    independent: frozenset[int]
    ignored: frozenset[str]

    @classmethod
    def of_contract(cls) -> "Layers":
        """As pyproject.toml has them; the package itself stands above all of its rooms."""
        tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
        for contract in tool["importlinter"]["contracts"]:
            if contract["name"] == CONTRACT:
                return cls.parse(contract["layers"], contract.get("exhaustive_ignores", []))
        raise LabError(
            f'pyproject.toml has no import-linter contract "{CONTRACT}"; add it, or say its new '
            "name in itemsite/lab/rooms.py."
        )

    @classmethod
    def parse(cls, layers: list[str], ignored: list[str]) -> "Layers":
        """import-linter's notation: ``a : b`` stand beside each other, ``a | b`` apart."""
        names = [tuple(re.findall(r"\w+", layer)) for layer in layers]
        apart = frozenset(i for i, layer in enumerate(layers, 1) if "|" in layer)
        return cls(((PACKAGE,), *names), apart, frozenset(ignored))

    def of(self, room: str) -> int:
        """The number of *room*'s layer, from above. ``LabError`` if it stands in none."""
        for i, rooms in enumerate(self.names):
            if room in rooms:
                return i
        raise LabError(
            f"{room} stands in no layer; add it to the contract "
            f'"{CONTRACT}" in pyproject.toml, above all that it imports.'
        )

    def forbid(self, arrow: Arrow) -> bool:
        """Whether *arrow* points against the layers."""
        importer, imported = self.of(arrow.importer), self.of(arrow.imported)
        return importer > imported or (importer == imported and importer in self.independent)


def room_of(module: str) -> str:
    """``cachelayer.redis.gate`` is in the room ``redis``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def arrows(graph: "ImportGraph", layers: Layers) -> list[Arrow]:
    """From each room to each that it imports."""
    counts: Counter[tuple[str, str]] = Counter()
    for importer, imported, lines in _imports(graph, layers):
        counts[room_of(importer), room_of(imported)] += len(lines)
    return [Arrow(*rooms, count) for rooms, count in sorted(counts.items())]


def statements(graph: "ImportGraph", layers: Layers, arrow: Arrow) -> list[str]:
    """The import statements that make *arrow*, each with its module and line."""
    return [
        f"{importer}:{line}: {text}"
        for importer, imported, lines in _imports(graph, layers)
        if (room_of(importer), room_of(imported)) == (arrow.importer, arrow.imported)
        for line, text in lines
    ]


def _imports(
    graph: "ImportGraph", layers: Layers
) -> Iterator[tuple[str, str, list[tuple[int, str]]]]:
    """Between two rooms: who imports, what, and in which lines."""
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            rooms = {room_of(importer), room_of(imported)}
            if len(rooms) == 2 and not rooms & layers.ignored:
                details = graph.get_import_details(importer=importer, imported=imported)
                yield (
                    importer,
                    imported,
                    [(each["line_number"], each["line_contents"]) for each in details],
                )
