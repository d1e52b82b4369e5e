"""A real lab, read and written like a small site, beside what the formula and the play say of it.

Two runs on one lab: one in which Redis has room for all that lives, so that the TTL decides, and
one in which it has room for a few rows, so that eviction does.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from loadtest.bench.say import say
from loadtest.bench.testbed import Testbed
from loadtest.simulate import events, formula
from loadtest.simulate.site import Site
from loadtest.simulate.traffic import Traffic

#: What is asked of the lab. A Redis of a few megabytes is small beside the buffers of its
#: clients, so that rows have to be large.
SITE: Final = Site(
    rows=20_000, reads=100.0, writes=20.0, skew=0.9, write_skew=0.9, ttl=20.0, row_bytes=1.0
)
ROOM: Final = 120
#: Of 24 bytes each, in the description of a row.
_WORDS: Final = 400
#: Seconds until the cache is as full as it will be.
_WARM_UP: Final = 42.0
#: The same where memory decides: so few rows are there soon.
_SHORT_WARM_UP: Final = 10.0
#: So many reads are enough; it measures in so many parts of so many seconds at most until it has
#: them, because a busy machine is slow.
_ENOUGH: Final = 2000
_PART: Final = 20.0
_PARTS: Final = 6
#: A busy machine lets reads go past the cache, because Redis answers too late. With a larger
#: share of these a run is not what the formula is about, and is done again.
_BYPASSES: Final = 0.25
_TRIES: Final = 3
#: How far the formula may be from the lab. Of 2,000 reads the hit rate has a standard error of
#: 0.011, and the memory of a real Redis is known to a fifth, which is 0.02 here: more than four
#: standard errors and that are 0.07. A formula that forgets the TTL or the memory is away by at
#: least 0.14.
TOLERANCE: Final = 0.07


class TooBusy(RuntimeError):  # noqa: N818
    """Too many reads went past the cache for a comparison."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One run: the site as it was measured, and its hit rate by three ways."""

    what: str
    site: Site
    #: Hits and misses that were counted. A bypass is neither.
    reads: int
    real: float
    formula: float
    played: float

    @property
    def agrees(self) -> bool:
        """Whether the formula is within ``TOLERANCE`` of the lab."""
        return abs(self.formula - self.real) <= TOLERANCE


def check() -> list[Checked]:
    """Start a lab, measure both runs, stop it; ``RuntimeError`` if it cannot be measured."""
    directory = Path(tempfile.mkdtemp(prefix="simulate-"))
    # Started by root, Postgres runs as somebody else, who must get through to its data.
    directory.chmod(0o711)
    testbed = Testbed(directory, rows=0, ROW_TTL=str(round(SITE.ttl)))
    try:
        say("Starting a lab for the check")
        testbed.start()
        testbed.fill_tables(SITE.rows, words=_WORDS)
        say("Redis has room for all rows that live")
        checked = [_run(testbed, "room for all", SITE)]
        with _room_for(testbed, ROOM):
            say(f"Redis has room for {ROOM} rows")
            checked.append(_run(testbed, f"room for {ROOM} rows", replace(SITE, memory=ROOM)))
        return checked
    finally:
        testbed.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _run(testbed: Testbed, what: str, site: Site) -> Checked:
    for _ in range(_TRIES):
        counted, seconds = _measure(testbed, site)
        reads = counted["hits"] + counted["misses"]
        if not reads:
            raise RuntimeError("The lab has counted no reads. Is its Redis running?")
        if counted["bypasses"] <= _BYPASSES * reads:
            break
        say(f"{counted['bypasses']} of {reads} reads went past the cache: that run does not count.")
    else:
        raise TooBusy("This machine is too busy for the check. Run it again at rest.")
    # Slower than was asked? Then there were as many writes fewer.
    rate = sum(counted.values()) / seconds
    measured = replace(site, reads=rate, writes=site.writes * rate / site.reads)
    return Checked(
        what=what,
        site=measured,
        reads=reads,
        real=counted["hits"] / reads,
        formula=formula.forecast(measured).hit_rate,
        played=events.play(measured, requests=100_000).hit_rate,
    )


def _measure(testbed: Testbed, site: Site) -> tuple[dict[str, int], float]:
    """Reads by outcome, and in how many seconds."""
    with Traffic(testbed.lab.url, site):
        time.sleep(_WARM_UP if site.memory is None else _SHORT_WARM_UP)
        before, began = testbed.counts(), time.monotonic()
        for _ in range(_PARTS):
            time.sleep(_PART)
            after, ended = testbed.counts(), time.monotonic()
            if sum(after.values()) - sum(before.values()) >= _ENOUGH:
                break
    return {name: after[name] - before[name] for name in after}, ended - began


@contextmanager
def _room_for(testbed: Testbed, rows: int) -> Iterator[None]:
    """Redis has memory for so many of the rows that it holds now."""
    cache: Any = testbed.redis
    held = [key for key in cache.scan_iter(match="item:*", count=1000) if cache.strlen(key) > 100]
    of_rows = sum(cache.memory_usage(key) or 0 for key in held)
    used = cache.info("memory")["used_memory"]
    cache.config_set("maxmemory-policy", "volatile-lru")
    cache.config_set("maxmemory", round(used - of_rows + rows * of_rows / len(held)))
    try:
        yield
    finally:
        cache.config_set("maxmemory", 0)
