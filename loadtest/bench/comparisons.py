"""The rows of the goal table that compare answers per second, measured in turns."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.outcome import Outcome, of_rates
from loadtest.bench.stand import HOT, WRITTEN, Stand
from loadtest.bench.wrk import Load, Run


def _nothing(stand: Stand) -> None:
    pass


def _warm(stand: Stand) -> None:
    stand.warm("lab")


def _warm_fast_api(stand: Stand) -> None:
    stand.warm("lab")
    stand.warm("fast_api")


def _warm_naive(stand: Stand) -> None:
    stand.warm("lab")
    stand.warm("naive")


@contextmanager
def _outage(stand: Stand) -> Iterator[None]:
    with stand.without_redis():
        yield


@dataclass(frozen=True, slots=True)
class Comparison:
    """*load* on the lab, against the same (or *base_load*) on the peer *base*."""

    row: str
    what: str
    goal: float
    base: str
    load: Load
    base_load: Load | None = None
    prepare: Callable[[Stand], None] = _nothing
    around: Callable[[Stand], Any] = nullcontext
    #: Of the lab's reads: which outcome they must have had, nearly all of them.
    outcome: str = ""


def _page() -> Load:
    return Load("page", path="/items?limit=50")


def comparisons(rows: int) -> list[Comparison]:
    """All of them; *rows* is how many rows can be missed."""
    cold = Load("walk", first=10_001, count=rows - 10_000)
    return [
        Comparison("hit", "hit / bare WSGI + redis-py GET", 1.0, "redis_get", HOT,
                   prepare=_warm, outcome="hits"),
        Comparison("hit_async", "hit / async FastAPI with telemetry", 2.5, "fast_api", HOT,
                   prepare=_warm_fast_api, outcome="hits"),
        Comparison("hit_naive", "hit / naive write-through in bare WSGI", 1.0, "naive", HOT,
                   prepare=_warm_naive, outcome="hits"),
        Comparison("hit_plain", "hit / the service without a cache", 1.0, "plain", HOT,
                   prepare=_warm, outcome="hits"),
        Comparison("hit_constant", "hit / bare WSGI constant", 0.5, "constant", HOT,
                   prepare=_warm, outcome="hits"),
        Comparison("miss", "miss / the service without a cache", 0.75, "plain", cold,
                   prepare=Stand.clear, outcome="misses"),
        Comparison("put", "PUT / the same without the cache layer", 0.85, "plain", WRITTEN),
        Comparison("post", "POST / the same without the cache layer", 0.85, "plain",
                   Load("post")),
        Comparison("page", "50-row page / plain ListAPIView", 3.0, "plain", _page(),
                   prepare=_warm),
        Comparison("outage", "read, gate open / the service without a cache", 0.9, "plain", HOT,
                   around=_outage),
    ]  # fmt: skip


#: The share of a run's reads that must have had the outcome that it is about.
_PURE: Final = 0.95


def compare(stand: Stand, comparison: Comparison, repeats: int, seconds: float) -> Outcome:
    """Measure *comparison* in turns, the first of each pair changing."""
    subjects: list[Run] = []
    bases: list[Run] = []
    shares: list[float] = []
    lab, base = stand.peer("lab"), stand.peer(comparison.base)
    base_load = comparison.base_load or comparison.load

    def measure_lab() -> None:
        before = stand.counts() if comparison.outcome else {}
        subjects.append(wrk.run(lab, comparison.load, seconds))
        if comparison.outcome:
            shares.append(_share(comparison.outcome, before, stand.counts()))

    def measure_base() -> None:
        bases.append(wrk.run(base, base_load, seconds))

    with comparison.around(stand):
        for repeat in range(repeats):
            comparison.prepare(stand)
            turns = [measure_lab, measure_base]
            for measure in turns if repeat % 2 else reversed(turns):
                measure()
    share = statistics.median(shares) if shares and shares[0] >= 0 else None
    if share is not None and share < _PURE:
        raise RuntimeError(
            f"Only {share:.0%} of the reads of '{comparison.row}' were {comparison.outcome}: "
            "they do not say what that costs."
        )
    return of_rates(
        comparison.row,
        comparison.what,
        comparison.goal,
        [run.rate for run in subjects],
        [run.rate for run in bases],
        peer=comparison.base,
        p99_ms=statistics.median(run.p99_ms for run in subjects),
        p99_ms_of_base=statistics.median(run.p99_ms for run in bases),
        discarded=sum(run.discarded for run in [*subjects, *bases]),
        share_of_outcome=share,
        rates=[round(run.rate) for run in subjects],
        rates_of_base=[round(run.rate) for run in bases],
    )


def _share(outcome: str, before: dict[str, int], after: dict[str, int]) -> float:
    """Which share of the reads between two counts had *outcome*; -1 if nobody counted."""
    done = {name: after[name] - before[name] for name in after}
    total = sum(done.values())
    return done[outcome] / total if total > 0 else -1.0
