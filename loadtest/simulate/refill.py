"""What Postgres is asked for while an emptied cache fills again.

A row that is read at the rate r and pushed at the rate w has not come back by the time t with the
chance e^(-(r+w)t). So, before the first rows expire, Postgres is asked for

    L(t) = Σ r·e^(-(r+w)t)        rows a second: all reads at first, and then ever fewer.
"""

from math import exp

from loadtest.simulate.formula import forecast
from loadtest.simulate.popularity import groups
from loadtest.simulate.site import Site

#: How exact a time is.
_BISECTIONS = 40


def loads(site: Site, seconds: float, share: float = 1.0) -> float:
    """Loads a second, *seconds* after the cache has lost a *share* of its rows."""
    return _loads(site, seconds, share, forecast(site).loads)


def seconds_until(site: Site, times: float, share: float = 1.0) -> float:
    """How long Postgres is asked for more than *times* its usual loads; 0: it never is.

    It holds for a lost *share* of the cache, and until rows expire again at the most.
    """
    usual = forecast(site).loads
    low, high = 0.0, site.shortest_life
    if _loads(site, 0, share, usual) <= times * usual:
        return 0.0
    if _loads(site, high, share, usual) > times * usual:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _loads(site, middle, share, usual) > times * usual:
            low = middle
        else:
            high = middle
    return high


def _loads(site: Site, seconds: float, share: float, usual: float) -> float:
    lost = sum(
        group.count * group.reads * exp(-_returns(site, group.reads, group.writes) * seconds)
        for group in groups(site)
    )
    return (1 - share) * usual + share * lost


def _returns(site: Site, reads: float, writes: float) -> float:
    return reads + writes if site.pushes else reads
