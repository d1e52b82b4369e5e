"""How the cost of a hit grows: with workers, clients, rows, and the size of a row."""

import statistics
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.outcome import Outcome
from loadtest.bench.testbed import HOT, Testbed
from loadtest.bench.wrk import Load

CLIENTS: Final = (1, 4, 16, 64, 256)
#: From 1 to 2 workers, where the load generator, Redis and Postgres share two cores too.
_LINEAR: Final = 1.5
_SIZES: Final = (4, 40, 400)


def measure(testbed: Testbed, repeats: int, seconds: float) -> list[Outcome]:
    """Hits from 1 to 2 workers in turns, and their p99 from 16 to 256 clients."""
    one = testbed.lab_with("one-worker", WEB_WORKERS="1")
    two = testbed.lab.web
    ones, twos, few, many = [], [], [], []
    for _ in range(repeats):
        testbed.warm("lab")
        ones.append(wrk.run(one, HOT, seconds).rate)
        first = wrk.run(two, HOT, seconds)
        twos.append(first.rate)
        few.append(first)
        many.append(wrk.run(two, _with_clients(256), seconds))
    rates = statistics.median(twos) / statistics.median(ones)
    p99 = statistics.median(run.p99_ms for run in many)
    kept = statistics.median(run.rate for run in many) / statistics.median(r.rate for r in few)
    return [
        Outcome(
            *("scaling", "hits with 2 workers / with 1", rates, _LINEAR),
            figures={"one": ones, "two": twos},
        ),
        Outcome(
            *("scaling", "hits of 256 clients / of 16", kept, 0.8),
            figures={
                "p99_ms_of_16": statistics.median(run.p99_ms for run in few),
                "p99_ms_of_256": p99,
            },
        ),
    ]


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


def _with_clients(clients: int) -> Load:
    return Load(HOT.mode, HOT.first, HOT.count, HOT.path, clients)
