"""How the cost of a hit grows: with workers, clients, rows, and the size of a row."""

import statistics
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.comparisons import Comparison, compare, warm
from loadtest.bench.outcome import Outcome, of_seconds
from loadtest.bench.testbed import HOT, Testbed
from loadtest.bench.wrk import Load

CLIENTS: Final = (1, 4, 16, 64, 256)
#: From 1 to 2 workers, where the load generator, Redis and Postgres share two cores too.
_LINEAR: Final = 1.5
_SIZES: Final = (4, 40, 400)


def _with_clients(clients: int) -> Load:
    return Load(HOT.mode, HOT.first, HOT.count, HOT.path, clients)


CONNECTIONS: Final = Comparison(
    *("scaling", "hits at 256 connections / at 16", 0.9, "lab", _with_clients(256), HOT),
    prepare=warm("lab"),
    outcome="hits",
)


def measure(testbed: Testbed, repeats: int, seconds: float) -> list[Outcome]:
    """Hits from 1 to 2 workers, and from 16 to 256 connections: rates, and their p99."""
    many = compare(testbed, CONNECTIONS, repeats, seconds)
    return [_workers(testbed, repeats, seconds), many, slowest(many)]


def slowest(many: Outcome) -> Outcome:
    """The ratio of the 99th percentiles of the two loads of *many*."""
    mine, base = (
        [ms / 1000 for ms in many.figures[name]] for name in ("p99s_ms", "p99s_ms_of_base")
    )
    return of_seconds("scaling", "p99 of hits at 256 connections / at 16", 20, mine, base)


def _workers(testbed: Testbed, repeats: int, seconds: float) -> Outcome:
    one = testbed.lab_with("one-worker", WEB_WORKERS="1")
    ones, twos = [], []
    for _ in range(repeats):
        testbed.warm("lab")
        ones.append(wrk.run(one, HOT, seconds).rate)
        twos.append(wrk.run(testbed.lab.web, HOT, seconds).rate)
    rates = statistics.median(twos) / statistics.median(ones)
    return Outcome(
        *("scaling", "hits with 2 workers / with 1", rates, _LINEAR),
        figures={"one": ones, "two": twos},
    )


def sweep(testbed: Testbed, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The curves: a rate and a p99 for each number of clients, of rows, each size, each worker."""
    testbed.warm("lab")
    curves: dict[str, list[dict[str, Any]]] = {
        "clients": [],
        "rows": [],
        "bytes": [],
        "workers": [],
    }
    for clients in CLIENTS:
        curves["clients"].append(_point(clients, testbed, _with_clients(clients), seconds))
    testbed.manage("cache_warm")
    for rows in (1, 100, 2000, testbed.rows):
        load = Load("get", first=1, count=rows)
        curves["rows"].append(_point(rows, testbed, load, seconds))
    for i, words in enumerate(_SIZES):
        load = Load("get", first=2_000_001 + i * 100, count=100)
        testbed.fill_tables(load.first + 99, first=load.first, words=words)
        testbed.warm("lab", load)
        size = len(testbed.get(f"/items/00000000-0000-4000-8000-{load.first:012x}"))
        curves["bytes"].append(_point(size, testbed, load, seconds))
    for workers in (1, 2, 4):
        served = testbed.lab_with(f"{workers}-workers", WEB_WORKERS=str(workers))
        testbed.warm("lab")
        run = wrk.run(served, _with_clients(64), seconds)
        curves["workers"].append({"x": workers, "rate": run.rate, "p99_ms": run.p99_ms})
    return curves


def _point(x: int, testbed: Testbed, load: Load, seconds: float) -> dict[str, Any]:
    run = wrk.run(testbed.lab.web, load, seconds)
    return {"x": x, "rate": run.rate, "p99_ms": run.p99_ms}
