"""Three sites, by the formula and by what was measured: a column of the planning page for each."""

from collections.abc import Callable, Mapping
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
class Plan:
    """What *site* needs, by what was measured (``parts`` of plan.json)."""

    site: Site
    forecast: Forecast
    nodes: int
    worker_cores: float
    redis_cores: float
    postgres_cores: float

    @property
    def lost(self) -> float:
        """Loads a second while one of the nodes is away: its hits are loads, too."""
        return self.forecast.loads + (self.site.reads - self.forecast.loads) / self.nodes

    @property
    def refill(self) -> float:
        """Seconds until the loads are no more than twice the usual."""
        return refill.seconds_until(self.site, 2.0, 1 / self.nodes)


def plan(site: Site, parts: Mapping[str, Any]) -> Plan:
    """The plan for *site*, whose rows have ``_JSON`` bytes."""
    line = parts["memory"]["formulas"]["row"]
    site = replace(site, row_bytes=line["each"] + line["of_json"] * _JSON)
    found = forecast(site)
    rates = (site.reads - found.loads, found.loads, site.writes)
    spent = {
        who: sum(
            rate * each["cpu_us"][who] / 1e6
            for rate, each in zip(rates, parts["rates"], strict=True)
        )
        / _BUSY
        for who in ("workers", "redis", "postgres")
    }
    nodes = max(1, ceil(spent["redis"]), ceil(found.memory / _NODE_BYTES))
    return Plan(site, found, nodes, spent["workers"], spent["redis"], spent["postgres"])


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
    "cores of workers": lambda plan: _cores(plan.worker_cores),
    "cores of Redis": lambda plan: _cores(plan.redis_cores),
    "cores of Postgres": lambda plan: _cores(plan.postgres_cores),
    "Redis nodes": lambda plan: f"{plan.nodes:,}",
    "loads a second while one node is away": lambda plan: f"{plan.lost:,.0f}",
    "then above twice the usual loads for": lambda plan: f"{plan.refill:,.0f} s",
}


def table(parts: Mapping[str, Any]) -> str:
    """The table, from the ``parts`` of plan.json."""
    plans = [plan(site, parts) for site in SITES.values()]
    lines = [f"| | {' | '.join(SITES)} |", "|---|" + "---|" * len(plans)]
    lines += [f"| {name} | {' | '.join(map(of, plans))} |" for name, of in _LINES.items()]
    return "\n".join(lines)


def _cores(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _size(number: float) -> str:
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB")):
        if number >= 10**power:
            return f"{number / 10**power:,.3g} {unit}"
    return f"{number:,.0f} bytes"
