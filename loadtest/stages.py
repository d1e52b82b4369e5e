"""The stages of a load test run: warm up, steady, Redis outage, recovery."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run; *share* is of all its seconds."""

    name: str
    share: float


WARM_UP: Final = Stage("warm up", 0.2)
STEADY: Final = Stage("steady", 0.3)
OUTAGE: Final = Stage("Redis outage", 0.25)
RECOVERY: Final = Stage("recovery", 0.25)
STAGES: Final = (WARM_UP, STEADY, OUTAGE, RECOVERY)


def stage_at(seconds: float, total: float) -> Stage | None:
    """The stage *seconds* after the start of a run of *total* seconds; None: the run is over."""
    end = 0.0
    for stage in STAGES:
        end += stage.share * total
        if seconds < end:
            return stage
    return None


def users_in(stage: Stage, users: int, total: float) -> tuple[int, float]:
    """How many users the stage is for, and how many start a second until they are there."""
    if stage is WARM_UP:
        return users, max(users / (stage.share * total), 0.1)
    return users, float(users)


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been counted up to a moment."""

    requests: int
    failures: int
    #: How many answers took so many milliseconds.
    times: Mapping[int, int]
    #: How many reads of a row were a hit, a miss, a bypass.
    outcomes: Mapping[str, int]

    def since(self, earlier: "Tally") -> "Tally":
        """What has been counted after *earlier*; all of it when the counts were reset since."""
        if self.requests < earlier.requests:
            return self
        return Tally(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            dict(Counter(self.times) - Counter(earlier.times)),
            dict(Counter(self.outcomes) - Counter(earlier.outcomes)),
        )

    def sentence(self) -> str:
        """A line for people."""
        reads = sum(self.outcomes.values())
        hits = f"{100 * self.outcomes.get('hit', 0) / reads:.1f} % hits" if reads else "no reads"
        return (
            f"{self.requests} requests, {self.failures} failed, "
            f"p50 {_percentile(self.times, 0.5)} ms, p95 {_percentile(self.times, 0.95)} ms, {hits}"
        )


def _percentile(times: Mapping[int, int], share: float) -> int:
    """The time within which *share* of the answers came; 0 without any."""
    wanted = math.ceil(share * sum(times.values()))
    seen = 0
    for time in sorted(times):
        seen += times[time]
        if seen >= wanted:
            return time
    return 0
