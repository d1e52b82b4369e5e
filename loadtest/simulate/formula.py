"""The forecast by a formula: Che's approximation for LRU, joined with a TTL.

Che, Tung and Wang (2002) found that an LRU cache evicts a row that nobody has used for a time
that is nearly the same for all rows; Fricker, Robert and Roberts (2012) say why that is so exact.
That time follows from the memory: so many rows as fit are in the cache. Jung, Berger and
Balakrishnan (2003) have the hit rate of a cache with a TTL that hits do not lengthen. Both ends
of a row's life are joined here, and a push is a third: it begins a new one.

For one row, read at the rate r and written at the rate w (Poisson), a life begins with a fill or
a push. It ends with the next push, when the TTL is over, or when nobody has used the row for the
idle time T. With S(t) the chance that no such gap came before t, and G(t) that the TTL is over
later than t, the row is there for

    m = ∫ e^(-wt) S(t) G(t) dt            seconds of each life.

w·m of the lives end with a push, so another begins at once. The others leave the row absent
until it is read or pushed, for 1 / (r + w) seconds. So the chance that a read finds the row is

    p = m / (m + (1 - w·m) / (r + w)),

or, if writes do not push but delete, m / (m + 1 / r). The hit rate is p, weighted by r; Postgres
is asked for the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, inf
from typing import Final

from loadtest.simulate.popularity import Group, groups
from loadtest.simulate.site import Site

#: Nodes and weights of Gauss and Legendre for the interval from -1 to 1.
_GAUSS: Final = (
    (0.0, 0.5688888888888889),
    (-0.5384693101056831, 0.4786286704993665),
    (0.5384693101056831, 0.4786286704993665),
    (-0.9061798459386640, 0.2369268850561891),
    (0.9061798459386640, 0.2369268850561891),
)
#: Where an integral over e^-x is divided.
_STEPS: Final = (1.0, 3.0, 8.0, 20.0)
#: The idle time is then exact to a millionth.
_BISECTIONS: Final = 26
#: Redis looks for expired rows no further while they are no more than such a share.
_EXPIRED: Final = 0.1


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a site may expect, at rest; rates are for each second."""

    hit_rate: float
    #: Rows that readers load from Postgres, as misses or past the cache.
    loads: float
    cached_rows: float
    #: In bytes; also of rows that are expired and that Redis has not found yet.
    memory: float
    evictions: float
    #: A row that nobody uses for so many seconds is evicted; None: none is.
    idle: float | None
    #: Redis is full and must not evict: it refuses marks, and the cache goes unused.
    refuses: bool = False


def forecast(site: Site) -> Forecast:
    """By the formula above; a second at most, whatever the size of *site*."""
    rows = groups(site)
    free = _Lives(site, inf)
    wanted = free.cached(rows)
    if site.room is None or wanted <= site.room:
        return _of(site, rows, free)
    if site.policy == "noeviction":
        return Forecast(0.0, site.reads, site.room, site.room * site.row_bytes, 0.0, None, True)
    low, high = 1e-9, site.ttl
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (
            (low, middle) if _Lives(site, middle).cached(rows) > site.room else (middle, high)
        )
    return _of(site, rows, _Lives(site, low))


def _of(site: Site, rows: Sequence[Group], lives: "_Lives") -> Forecast:
    hits = sum(group.count * group.reads * lives.presence(group) for group in rows)
    cached = lives.cached(rows)
    held = cached / (1 - _EXPIRED)
    return Forecast(
        hit_rate=hits / site.reads,
        loads=site.reads - hits,
        cached_rows=cached,
        memory=min(held, site.room or held) * site.row_bytes,
        evictions=sum(group.count * lives.evictions(group) for group in rows),
        idle=None if lives.idle == inf else lives.idle,
    )


class _Lives:
    """The lives of rows, if one that nobody uses for *idle* seconds is evicted."""

    def __init__(self, site: Site, idle: float) -> None:
        self._site, self.idle = site, idle

    def cached(self, rows: Sequence[Group]) -> float:
        """How many rows are in the cache."""
        return sum(group.count * self.presence(group) for group in rows)

    def presence(self, group: Group) -> float:
        """The chance that one row of *group* is in the cache."""
        length = self._length(group)
        return length / (length + self._absence(group, length))

    def evictions(self, group: Group) -> float:
        """Evictions a second of one row of *group*."""
        if self.idle == inf:
            return 0.0
        length = self._length(group)
        expired = self._over_life(group, self._site.shortest_life, self._site.ttl)
        evicted = max(0.0, 1 - group.writes * length - expired)
        return evicted / (length + self._absence(group, length))

    def _absence(self, group: Group, length: float) -> float:
        if not self._site.pushes:
            return 1 / group.reads
        return (1 - group.writes * length) / (group.reads + group.writes)

    def _length(self, group: Group) -> float:
        """m: seconds from a fill or a push until the next, or until the row is gone."""
        site, survival = self._site, self._survival(group)
        cuts = self._cuts(group)
        jitter = site.ttl - site.shortest_life

        def integrand(time: float) -> float:
            left = 1.0 if time <= site.shortest_life else (site.ttl - time) / jitter
            return exp(-group.writes * time) * survival(time) * left

        return sum(map(partial(_integral, integrand), cuts, cuts[1:]))

    def _over_life(self, group: Group, shortest: float, longest: float) -> float:
        """The share of lives that end because the TTL is over."""
        survival = self._survival(group)

        def ends(time: float) -> float:
            return exp(-group.writes * time) * survival(time)

        if longest == shortest:
            return ends(longest)
        return _integral(ends, shortest, longest) / (longest - shortest)

    def _cuts(self, group: Group) -> list[float]:
        """Between these times the integrand is smooth, and no exponential falls far."""
        site = self._site
        found = {0.0, site.shortest_life, site.ttl}
        if group.writes:
            found |= {step / group.writes for step in _STEPS}
        if self.idle < site.ttl:
            found |= {step * self.idle for step in (1, 2, 3)}
            rate = _decay(group.reads * self.idle) / self.idle
            found |= {3 * self.idle + step / rate for step in _STEPS if rate > 1e-12}
        return sorted(cut for cut in found if cut <= site.ttl)

    def _survival(self, group: Group) -> "_Survival":
        return _Survival(group.reads, self.idle)


class _Survival:
    """S(t): the chance that reads at *rate* have left no gap of *idle* seconds before t.

    With x = t / T, b = e^(-rT) and a = rT·b: S is 1 before x = 1, falls by b there, and then
    S'(x) = -a S(x - 1). From x = 3 on it falls like e^(-θx), where θ = a·e^θ.
    """

    def __init__(self, rate: float, idle: float) -> None:
        self._idle = idle
        self._none = exp(-rate * idle) if idle < inf else 0.0
        self._a = rate * idle * self._none if self._none else 0.0
        self._theta = _decay(rate * idle) if self._none else 0.0
        self._at_three = self._early(3.0)

    def __call__(self, time: float) -> float:
        x = time / self._idle
        if x < 1:
            return 1.0
        if x < 3:
            return self._early(x)
        return self._at_three * exp(-self._theta * (x - 3))

    def _early(self, x: float) -> float:
        a, first = self._a, 1 - self._none
        if x < 2:
            return first - a * (x - 1)
        return first - a - a * (first * (x - 2) - a * (x - 2) ** 2 / 2)


def _decay(reads: float) -> float:
    """θ, the smaller root of θ = a·e^θ, if a row is read *reads* times in an idle time."""
    a = reads * exp(-reads)
    theta = a
    for _ in range(30):
        theta = a * exp(theta)
    return theta


def _integral(function: Callable[[float], float], low: float, high: float) -> float:
    half, middle = (high - low) / 2, (high + low) / 2
    return half * sum(weight * function(middle + half * node) for node, weight in _GAUSS)
