"""The forecast by play: every read and every write of a small site, one after another."""

import random
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

from loadtest.simulate.popularity import cumulative
from loadtest.simulate.redis_model import RedisModel
from loadtest.simulate.site import Site, WrongSite

#: What can be played through in a minute or so.
MOST_ROWS: Final = 1_000_000
_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it; rates are for each second of the site's time."""

    hit_rate: float
    loads: float
    #: Rows that Redis holds, also those that are expired and not found yet.
    held_rows: float
    evictions: float


def play(site: Site, requests: int = 300_000, seed: int = 1) -> Played:
    """Play *requests* reads and writes of *site*; the first third fills the cache, uncounted.

    Raises ``WrongSite`` for a site that is too large, or whose Redis would refuse writes.
    """
    if site.rows > MOST_ROWS:
        raise WrongSite(
            f"Events are played for up to {MOST_ROWS:,} rows. Give fewer --rows, or leave out "
            "--events: the formula takes any number."
        )
    if site.policy == "noeviction" and site.room is not None:
        raise WrongSite(
            "Events are not played for a Redis that refuses writes when it is full. Leave out "
            "--events, or give --policy volatile-lru."
        )
    chance = random.Random(seed)
    cache = RedisModel(None if site.room is None else int(site.room), chance)
    rate, uncounted = site.reads + site.writes, requests // 3
    now = began = 0.0
    reads = hits = evicted = held = 0
    for done, (number, is_write) in enumerate(_stream(site, requests, chance)):
        now += chance.expovariate(rate)
        cache.expire(now)
        if done == uncounted:
            began, reads, hits, held, evicted = now, 0, 0, 0, cache.evictions
        found = not is_write and cache.read(number, now)
        if found or not is_write:
            reads, hits = reads + 1, hits + found
        if is_write and not site.pushes:
            cache.delete(number)
        elif not found:
            cache.store(number, now + site.ttl * (1 - site.jitter * chance.random()), now)
        held += len(cache)
    seconds = now - began
    return Played(
        hit_rate=hits / reads,
        loads=(reads - hits) / seconds,
        held_rows=held / (requests - uncounted),
        evictions=(cache.evictions - evicted) / seconds,
    )


def _stream(site: Site, requests: int, chance: random.Random) -> "chain[tuple[int, bool]]":
    """Row numbers, and whether each is written."""
    numbers = range(site.rows)
    read, written = cumulative(site.rows, site.skew), cumulative(site.rows, site.write_skew)
    share = site.writes / (site.reads + site.writes)

    def some(count: int) -> list[tuple[int, bool]]:
        writes = [chance.random() < share for _ in range(count)]
        of_reads = iter(chance.choices(numbers, cum_weights=read, k=count))
        of_writes = iter(chance.choices(numbers, cum_weights=written, k=sum(writes)))
        return [(next(of_writes if each else of_reads), each) for each in writes]

    whole, rest = divmod(requests, _AT_ONCE)
    return chain.from_iterable(map(some, [*repeat(_AT_ONCE, whole), rest]))
