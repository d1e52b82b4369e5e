"""The rows of the goal table that compare answers per second, measured in turns."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from loadtest.bench import story, wrk
from loadtest.bench.cpu import Account
from loadtest.bench.outcome import Outcome, of_rates
from loadtest.bench.say import say
from loadtest.bench.testbed import HOT, WRITTEN, Testbed
from loadtest.bench.wrk import Load, Once, Run
from loadtest.isolated_lab import Served

#: The share of a run's reads that must have had the outcome that it is about.
_PURE: Final = 0.95
#: How many runs may miss it, however few are wanted.
_FEWEST_TRIES: Final = 8


def _nothing(testbed: Testbed) -> None:
    pass


def warm(*names: str) -> Callable[[Testbed], None]:
    """Have every hot row in the caches of *names*."""

    def prepare(testbed: Testbed) -> None:
        for name in names:
            testbed.warm(name)

    return prepare


@contextmanager
def _outage(testbed: Testbed) -> Iterator[None]:
    with testbed.without_redis():
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
    prepare: Callable[[Testbed], None] = _nothing
    around: Callable[[Testbed], Any] = nullcontext
    #: Of the lab's reads: which outcome they must have had, nearly all of them. The shares are in
    #: the figures.
    outcome: str = ""
    #: The share of bypasses that will do as well.
    bypasses: float = 0.0
    subject: str = "lab"
    #: The load generator.
    once: Once = wrk.once

    def is_pure(self, shares: dict[str, float]) -> bool:
        """Whether reads with these *shares* were what it is about."""
        if not self.outcome:
            return True
        return shares[self.outcome] + min(shares["bypasses"], self.bypasses) >= _PURE


def comparisons(rows: int) -> list[Comparison]:
    """All of them; *rows* is how many rows can be missed."""
    cold = Load("walk", first=10_001, count=rows - 10_000)
    return [
        Comparison("hit", "hit / bare WSGI + redis-py GET", 2.0, "redis_get", HOT,
                   prepare=warm("lab"), outcome="hits"),
        Comparison("hit_async", "hit / async FastAPI, both untraced", 2.0,
                   "fast_api_untraced", HOT, prepare=warm("lab_untraced", "fast_api_untraced"),
                   outcome="hits", subject="lab_untraced"),
        Comparison("hit_started", "hit / async FastAPI, both as started", 2.5,
                   "fast_api_traced", HOT, prepare=warm("lab_started", "fast_api_traced"),
                   outcome="hits", subject="lab_started"),
        Comparison("hit_bolt", "hit / django-bolt + redis.asyncio", 1.1, "bolt", HOT,
                   prepare=warm("lab"), outcome="hits"),
        # Not of the table: what somebody gains who comes from there.
        Comparison("hit_cacheops", "hit / REST framework, django-cacheops (goal set here)", 3.0,
                   "cacheops", HOT, prepare=warm("lab", "cacheops"), outcome="hits"),
        Comparison("hit_threads", "hit on an event loop / in threads", 2.0, "lab_gthread", HOT,
                   prepare=warm("lab", "lab_gthread"), outcome="hits"),
        Comparison("hit_naive", "hit / naive write-through in bare WSGI", 1.0, "naive", HOT,
                   prepare=warm("lab", "naive"), outcome="hits"),
        Comparison("hit_plain", "hit / the service without a cache", 1.0, "plain", HOT,
                   prepare=warm("lab"), outcome="hits"),
        Comparison("hit_constant", "hit / constant on the same server", 0.4, "constant_on_loop",
                   HOT, prepare=warm("lab"), outcome="hits"),
        Comparison("miss", "miss / the service without a cache", 0.8, "plain", cold,
                   prepare=Testbed.clear, outcome="misses"),
        Comparison("put", "PUT / the same without the cache layer", 0.9, "plain", WRITTEN),
        Comparison("post", "POST / the same without the cache layer", 0.9, "plain",
                   Load("post")),
        Comparison("page", "50-row page, unchanged / plain ListAPIView", 10.0, "plain",
                   Load("page", path="/items?limit=50"), outcome="hits"),
        Comparison("outage", "read, gate open / the service without a cache", 0.95, "plain", HOT,
                   around=_outage),
        Comparison("mixed", "the lab as started / as it was before, the Locust story", 3.0,
                   "lab_before", story.STORY, subject="lab_started", once=story.once),
    ]  # fmt: skip


@dataclass(slots=True)
class _Turn:
    """One run, and the microseconds of processor time that each request took of whom."""

    run: Run
    cpu: dict[str, float]


@dataclass(slots=True)
class _Pair:
    """One turn of each, and which share of the lab's reads had which outcome."""

    subject: _Turn
    base: _Turn
    shares: dict[str, float]


def compare(testbed: Testbed, comparison: Comparison, repeats: int, seconds: float) -> Outcome:
    """Measure *comparison* in turns, the first of each pair changing.

    A pair in which the lab's reads were something else (the gate was not closed: Redis
    was too slow for a moment) does not count, and is measured again; ``RuntimeError``
    when there are too many.
    """
    pairs: list[_Pair] = []
    impure = 0
    with comparison.around(testbed):
        while len(pairs) < repeats:
            pair = _measure(testbed, comparison, seconds, lab_first=len(pairs) % 2 == 0)
            if comparison.is_pure(pair.shares):
                pairs.append(pair)
                continue
            impure += 1
            share = pair.shares[comparison.outcome]
            say(f"{share:.0%} of these reads were {comparison.outcome}; once more")
            if impure > max(2 * repeats, _FEWEST_TRIES):
                raise RuntimeError(
                    f"Too few of the reads of '{comparison.row}' are {comparison.outcome}: Redis "
                    "does not answer in time. Measure on a machine that is less busy."
                )
    turns = [pair.subject for pair in pairs], [pair.base for pair in pairs]
    subjects, bases = ([turn.run for turn in series] for series in turns)
    return of_rates(
        comparison.row,
        comparison.what,
        comparison.goal,
        [run.rate for run in subjects],
        [run.rate for run in bases],
        peer=comparison.base,
        p99_ms=statistics.median(run.p99_ms for run in subjects),
        p99_ms_of_base=statistics.median(run.p99_ms for run in bases),
        cpu_us=_medians([turn.cpu for turn in turns[0]]),
        cpu_us_of_base=_medians([turn.cpu for turn in turns[1]]),
        unbalanced=sum(run.discarded for run in [*subjects, *bases]),
        impure=impure,
        shares=_medians([pair.shares for pair in pairs]),
        rates=[round(run.rate) for run in subjects],
        rates_of_base=[round(run.rate) for run in bases],
        p99s_ms=[run.p99_ms for run in subjects],
        p99s_ms_of_base=[run.p99_ms for run in bases],
    )


def _medians(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def _measure(testbed: Testbed, comparison: Comparison, seconds: float, *, lab_first: bool) -> _Pair:
    comparison.prepare(testbed)
    lab, base = testbed.peer(comparison.subject), testbed.peer(comparison.base)
    base_load = comparison.base_load or comparison.load
    turn = partial(_turn, testbed, comparison.once, seconds)
    base_turn = None if lab_first else turn(base, base_load)
    before = testbed.counts() if comparison.outcome else {}
    lab_turn = turn(lab, comparison.load)
    shares = _shares(before, testbed.counts()) if before else {}
    return _Pair(lab_turn, base_turn or turn(base, base_load), shares)


def _turn(testbed: Testbed, once: Once, seconds: float, served: Served, load: Load) -> _Turn:
    account = Account({"workers": [served.pid], **testbed.servers()})
    run = wrk.run(served, load, seconds, once)
    return _Turn(run, account.per_request(run.all_requests))


def _shares(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    """Which share of the reads between two counts had which outcome."""
    done = {name: after[name] - before[name] for name in after}
    total = sum(done.values())
    return {name: count / total if total > 0 else 0.0 for name, count in done.items()}
