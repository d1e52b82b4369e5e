"""Three sites, by the formula and by what was measured: a column of the planning page for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

from loadtest.simulate import refill
from loadtest.simulate.formula import Forecast, forecast
from loadtest.simulate.site import Site

#: Bytes of JSON of a row.
_JSON: Final = 330
#: How busy a core may be, so that there is room for peaks.
_BUSY: Final = 0.6
#: What one Redis node may have for rows.
_NODE_BYTES: Final = 50e9

SITES: Final[Mapping[str, Site]] = {
    "small": Site(rows=100_000, reads=200, writes=2, skew=0.9),
    "middle": Site(rows=10**7, reads=10_000, writes=100, skew=0.9, ttl=3600),
    "large": Site(rows=10**9, reads=10**6, writes=10_000),
    "large, a day": Site(rows=10**9, reads=10**6, writes=10_000, ttl=86_400, memory=400e9),
}


@dataclass(frozen=True, slots=True)
class Cores:
    """How many are needed, none busier than ``_BUSY``."""

    workers: float
    redis: float
    postgres: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What *site* needs, and what it needs while one of *nodes* Redis servers is away."""

    site: Site
    forecast: Forecast
    nodes: int
    cores: Cores
    #: Loads a second while a node is away: its hits are loads, too.
    loads_without_node: float
    cores_without_node: Cores

    @property
    def refill(self) -> float:
        """Seconds until the loads are no more than twice the usual."""
        return refill.seconds_until(self.site, 2.0, 1 / self.nodes)


def plan(site: Site, parts: Mapping[str, Any]) -> Plan:
    """The plan for *site*, whose rows have ``_JSON`` bytes, by the ``parts`` of plan.json."""
    site = replace(site, row_bytes=_row_bytes(parts["memory"]))
    found = forecast(site)
    rates = parts["rates"]
    cores, nodes = _needed(site, found, rates)
    if nodes > 1:
        # Several nodes are a cluster, on which each request costs more.
        rates = parts["cluster"]["rates"]
        cores, nodes = _needed(site, found, rates)
    lost = found.loads + (site.reads - found.loads) / nodes
    return Plan(site, found, nodes, cores, lost, _cores_for(site, lost, rates))


def _needed(site: Site, found: Forecast, rates: Sequence[Mapping[str, Any]]) -> tuple[Cores, int]:
    """The cores, and the Redis nodes: one is busy on one core only."""
    cores = _cores_for(site, found.loads, rates)
    return cores, max(1, ceil(cores.redis), ceil(found.memory / _NODE_BYTES))


def _row_bytes(memory: Mapping[str, Any]) -> float:
    """The most that was measured: hash tables grow by doubling, so it depends on their number."""
    return max(
        float(each["bytes"])
        for each in [*memory["kinds"], *memory["many"]]
        if (each["kind"], each["json"]) == ("row", _JSON)
    )


def _cores_for(site: Site, loads: float, rates: Sequence[Mapping[str, Any]]) -> Cores:
    """For that many loads a second; all other reads are hits."""
    each_second = (site.reads - loads, loads, site.writes)

    def busy(who: str) -> float:
        pairs = zip(each_second, rates, strict=True)
        return sum(count * float(each["cpu_us"][who]) for count, each in pairs) / 1e6 / _BUSY

    return Cores(busy("workers"), busy("redis"), busy("postgres"))


_LINES: Final[Mapping[str, Callable[[Plan], str]]] = {
    "rows": lambda plan: f"{plan.site.rows:,}",
    "reads, writes a second": lambda plan: f"{plan.site.reads:,}, {plan.site.writes:,}",
    "skew": lambda plan: f"{plan.site.skew:g}",
    "`ROW_TTL`": lambda plan: f"{plan.site.ttl:,.0f} s",
    "`maxmemory`": lambda plan: _size(plan.site.memory) if plan.site.memory else "more than used",
    "hit rate": lambda plan: f"{plan.forecast.hit_rate:.1%}",
    "cached rows": lambda plan: f"{plan.forecast.cached_rows:,.0f}",
    "memory of Redis": lambda plan: _size(plan.forecast.memory),
    "evictions a second": lambda plan: f"{plan.forecast.evictions:,.0f}",
    "Postgres: loads a second": lambda plan: f"{plan.forecast.loads:,.0f}",
    "cores: workers": lambda plan: _number(plan.cores.workers),
    "cores: Redis": lambda plan: _number(plan.cores.redis),
    "cores: Postgres": lambda plan: _number(plan.cores.postgres),
    "Redis nodes": lambda plan: f"{plan.nodes:,}",
    "one node away: loads a second": lambda plan: f"{plan.loads_without_node:,.0f}",
    "one node away, cores: workers": lambda plan: _number(plan.cores_without_node.workers),
    "one node away, cores: Postgres": lambda plan: _number(plan.cores_without_node.postgres),
    "when it is back: over twice the loads for": lambda plan: f"{plan.refill:,.0f} s",
}


def table(parts: Mapping[str, Any]) -> str:
    """The table, from the ``parts`` of plan.json."""
    plans = [plan(site, parts) for site in SITES.values()]
    lines = [f"| | {' | '.join(SITES)} |", "|---|" + "---|" * len(plans)]
    lines += [f"| {name} | {' | '.join(map(of, plans))} |" for name, of in _LINES.items()]
    return "\n".join(lines)


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _size(number: float) -> str:
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB")):
        if number >= 10**power:
            return f"{number / 10**power:,.3g} {unit}"
    return f"{number:,.0f} bytes"
