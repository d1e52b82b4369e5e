"""What one row of the goal table came to."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Outcome:
    """*value* is a ratio (or milliseconds, or a count: *unit* says); *goal* is its bound."""

    row: str
    what: str
    value: float
    goal: float
    #: Whether *value* has to be at least the goal; else at most.
    at_least: bool = True
    unit: str = "times"
    #: The least and the greatest that one repeat gave.
    spread: tuple[float, float] | None = None
    #: The medians that the ratio is made of, and what else was seen.
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def share(self) -> float:
        """How much of the goal was reached: 1 is just met, 2 twice as good."""
        if self.value == self.goal:
            return 1.0  # Also where none is to be, and none was.
        if self.at_least:
            return self.value / self.goal
        return self.goal / max(self.value, self.goal / 10)


def of_rates(
    row: str,
    what: str,
    goal: float,
    subject: Sequence[float],
    base: Sequence[float],
    **figures: Any,
) -> Outcome:
    """The ratio of the medians of two series that were measured in turns."""
    pairs = [s / b for s, b in zip(subject, base, strict=True)]
    medians = statistics.median(subject), statistics.median(base)
    return Outcome(
        row,
        what,
        medians[0] / medians[1],
        goal,
        spread=(min(pairs), max(pairs)),
        figures={"median": round(medians[0], 1), "median_of_base": round(medians[1], 1), **figures},
    )


def of_seconds(
    row: str, what: str, goal: float, subject: Sequence[float], base: Sequence[float]
) -> Outcome:
    """The ratio of the medians of two series of seconds, which is to be small."""
    pairs = [s / b for s, b in zip(subject, base, strict=True)]
    medians = statistics.median(subject), statistics.median(base)
    return Outcome(
        row,
        what,
        medians[0] / medians[1],
        goal,
        at_least=False,
        spread=(min(pairs), max(pairs)),
        figures={"median_ms": medians[0] * 1000, "median_ms_of_base": medians[1] * 1000},
    )
