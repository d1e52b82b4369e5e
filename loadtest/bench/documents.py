"""One document served by this project, django-cacheops, django-cachalot and without a cache.

The same models, serializer, Postgres and Redis server, the same processes that read and that
write; ``peers/library/ways.py`` says how each is configured and what it promises. Measured in
turns under two loads: a few writes a second, as a site has that is mostly read, and
writers that never pause. Which reads were stale is decided afterwards (``staleness.py``).
"""

import importlib.metadata
import importlib.util
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.bench.outcome import Outcome
from loadtest.bench.say import say
from loadtest.bench.services import READERS, WRITERS, Service
from loadtest.bench.staleness import History
from loadtest.bench.testbed import Testbed

_OURS: Final = "cachelayer"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to serve the document: its name in ``peers/library/ways.py``, and what it needs."""

    name: str
    title: str
    #: Of the ways that the package has.
    how: str = ""
    package: str = ""
    module: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.title, self.how)))

    @property
    def with_version(self) -> str:
        version = f" {importlib.metadata.version(self.package)}" if self.package else ""
        return ", ".join(filter(None, (self.title + version, self.how)))


_CACHEOPS: Final = ("django-cacheops", "cacheops")
WAYS: Final = (
    Way(_OURS, "cachelayer"),
    Way("plain", "no cache"),
    Way("cacheops", "cacheops", "querysets", *_CACHEOPS),
    Way("cacheops_function", "cacheops", "cached_as", *_CACHEOPS),
    Way("cacheops_fresh", "cacheops", "keep_fresh", *_CACHEOPS),
    Way("cachalot", "cachalot", "", "django-cachalot", "cachalot"),
)


#: Of those of cacheops, the one that is measured soonest to be stale.
QUICK: Final = tuple(
    way for way in WAYS if way.name in (_OURS, "plain", "cacheops_function", "cachalot")
)


@dataclass(frozen=True, slots=True)
class Load:
    """Readers that never pause, and writers that write once in *pause* seconds each."""

    name: str
    what: str
    pause: float


#: The first is one write a second in each of the four tables: what cachalot is meant for.
LOADS: Final = (
    Load("calm", "4 writes a second", WRITERS / 4),
    Load("rush", "writers that never pause", 0.0),
)


@dataclass(slots=True)
class Turns:
    """What the turns of one way under one load came to."""

    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    hit_rates: list[float] = field(default_factory=list)
    queries: list[float] = field(default_factory=list)
    write_ms: list[float] = field(default_factory=list)
    #: Of each turn: how many reads were stale, and how many documents when all was at rest.
    stale: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    stale_things: dict[str, int] = field(default_factory=dict)
    longest_ms: float = 0.0
    all_reads: int = 0


def missing() -> dict[str, str]:
    """The ways that cannot be measured here, and why not."""
    return {
        str(way): f"{way.package} is not installed: {sys.executable} -m pip install "
        "-r requirements-load.txt"
        for way in WAYS
        if way.module and not importlib.util.find_spec(way.module)
    }


def measure(
    testbed: Testbed, repeats: int, seconds: float, *, quick: bool = False
) -> list[Outcome]:
    """Our stale reads, which are to be none; the figures of all ways beside them.

    *quick*: of one way of each package only.
    """
    left_out = missing()
    for name, reason in left_out.items():
        say(f"{name} is left out. {reason}")
    ways = [way for way in (QUICK if quick else WAYS) if str(way) not in left_out]
    with ExitStack() as stack:
        services = _start(testbed, stack, ways, left_out)
        measured = [way for way in ways if way.name in services]
        races = {name: _race(service) for name, service in services.items()}
        turns = {load.name: _turns(services, load, repeats, seconds) for load in LOADS}
    stale = [found for load in LOADS for found in turns[load.name][_OURS].stale]
    loads = [
        {
            "load": load.name,
            "what": load.what,
            "ways": [
                _figures(way, turns[load.name][way.name], races[way.name]) for way in measured
            ],
        }
        for load in LOADS
    ]
    return [
        Outcome(
            *("documents", "documents: stale reads beside concurrent writes", sum(stale), 0),
            at_least=False,
            unit="reads",
            spread=(min(stale), max(stale)),
            figures={"loads": loads, "left_out": left_out, "readers": READERS, "writers": WRITERS},
        )
    ]


def _start(
    testbed: Testbed, stack: ExitStack, ways: Sequence[Way], left_out: dict[str, str]
) -> dict[str, Service]:
    """All of *ways* that start, by name; of another's that does not, *left_out* says why."""
    services = {}
    for number, way in enumerate(ways):
        try:
            services[way.name] = stack.enter_context(Service.started(testbed, way.name, number))
        except RuntimeError as error:
            if not way.package:
                raise
            left_out[str(way)] = str(error)
            say(f"{way} is left out: {error}")
    return services


def _race(service: Service) -> str:
    """What a reader that is held up leaves to the next."""
    service.warm()
    return "stale" if service.race() else "fresh"


def _turns(
    services: dict[str, Service], load: Load, repeats: int, seconds: float
) -> dict[str, Turns]:
    """*repeats* turns of each; every second time in the other order."""
    turns = {name: Turns() for name in services}
    for repeat in range(repeats):
        for name in list(services)[:: 1 if repeat % 2 else -1]:
            _turn(services[name], turns[name], load, seconds)
    return turns


def _turn(service: Service, turns: Turns, load: Load, seconds: float) -> None:
    """One run, on a cache that has been cleared and filled; and what it leaves behind."""
    service.warm()
    start = time.monotonic() + 0.3
    reads, writes = service.run(load.pause, start, start + seconds)
    service.history.add(writes)
    turns.all_reads += len(reads)
    turns.reads.append(len(reads) / seconds)
    turns.writes.append(len(writes) / seconds)
    turns.hit_rates.append(sum(queries == 0 for _, _, queries, _ in reads) / len(reads))
    turns.queries.append(sum(queries for _, _, queries, _ in reads) / len(reads))
    turns.write_ms += [(done - began) / 1e6 for _, _, began, done in writes]
    ages = list(_stale(service.history, reads))
    turns.stale.append(len(ages))
    turns.longest_ms = max([turns.longest_ms, *(age / 1e6 for age, _ in ages)])
    for _, thing in ages:
        kind = thing.partition(" ")[0]
        turns.stale_things[kind] = turns.stale_things.get(kind, 0) + 1
    turns.left.append(len(list(_stale(service.history, service.walk()))))


def _stale(history: History, reads: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Of each stale read: for how long it had been out of date, and which thing most."""
    for began, ended, _, shown in reads:
        age, thing = max((history.age(thing, value, began, ended), thing) for thing, value in shown)
        if age:
            yield age, thing


def _figures(way: Way, turns: Turns, race: str) -> dict[str, Any]:
    """Medians of the turns; of what is stale, sums."""
    return {
        "way": way.name,
        "title": way.with_version,
        "reads_per_s": round(statistics.median(turns.reads), 1),
        "writes_per_s": round(statistics.median(turns.writes), 1),
        "hit_rate": statistics.median(turns.hit_rates),
        "queries_of_a_read": round(statistics.median(turns.queries), 3),
        "write_ms": round(statistics.median(turns.write_ms), 2),
        "reads": turns.all_reads,
        "stale": sum(turns.stale),
        "stale_of": turns.stale_things,
        "held_up": race,
        "longest_ms": round(turns.longest_ms, 1),
        "left": sum(turns.left),
        "stale_by_turn": turns.stale,
        "left_by_turn": turns.left,
        "reads_by_turn": [round(rate) for rate in turns.reads],
        "writes_by_turn": [round(rate) for rate in turns.writes],
    }
