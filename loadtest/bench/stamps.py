"""What stamps cost: a hit of a document that depends on other rows, a write of a row that is shown.

Both sides of a ratio are models of one project (``peers/orm.py cached``), measured in turns in
one process: they differ in their stamps, and in nothing that another process could add.
"""

import statistics
from dataclasses import dataclass
from typing import Final

from loadtest.bench import orm
from loadtest.bench.outcome import Outcome, of_rates
from loadtest.bench.testbed import Testbed


@dataclass(frozen=True, slots=True)
class _Pair:
    """The rate of *subject*, against that of *base*; both are said to ``peers/orm.py``.

    *count* of them are a turn.
    """

    subject: str
    base: str
    count: int
    what: str
    goal: float


_PAIRS: Final = (
    _Pair("read_document", "read_row", 200,
          "hit of a document with 5 dependencies / of a row", 0.8),
    _Pair("update_shown", "update_not_shown", 30,
          "update() of a row with 5 stamps / with none", 0.9),
)  # fmt: skip
#: Of each, in one repeat.
_TURNS: Final = 10


def measure(testbed: Testbed, repeats: int) -> list[Outcome]:
    """Both, as ratios of rates."""
    with orm.project(testbed, "cached") as project:
        return [_compare(project, pair, repeats) for pair in _PAIRS]


def _compare(project: orm.Project, pair: _Pair, repeats: int) -> Outcome:
    # The first finds plans and scripts cold, which no goal is about.
    _, *rates = (_repeat(project, pair) for _ in range(repeats + 1))
    mine, others = zip(*rates, strict=True)
    return of_rates("stamps", pair.what, pair.goal, mine, others)


def _repeat(project: orm.Project, pair: _Pair) -> tuple[float, float]:
    """The medians of short turns: what else the machine does, falls upon both."""
    rates: dict[str, list[float]] = {pair.subject: [], pair.base: []}
    for turn in range(_TURNS):
        for name in list(rates)[:: 1 if turn % 2 else -1]:
            rates[name].append(1 / project.seconds(name, pair.count))
    return statistics.median(rates[pair.subject]), statistics.median(rates[pair.base])
