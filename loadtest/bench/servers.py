"""What gunicorn's settings do to hits, pages and writes."""

import statistics
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.testbed import HOT, WRITTEN, Testbed
from loadtest.bench.wrk import Load

#: What is changed, against 2 workers of 4 threads, and how.
_VARIANTS: Final[dict[str, dict[str, str]]] = {
    "2 workers, 4 threads": {},
    "1 thread": {"WEB_THREADS": "1"},
    "2 threads": {"WEB_THREADS": "2"},
    "8 threads": {"WEB_THREADS": "8"},
    "4 workers": {"WEB_WORKERS": "4"},
    "no keep-alive": {"GUNICORN_CMD_ARGS": "--reuse-port --keep-alive 0"},
    "one queue of connections": {"GUNICORN_CMD_ARGS": "--keep-alive 30"},
}
_LOADS: Final = {"hits": HOT, "pages": Load("page", path="/items?limit=50"), "PUTs": WRITTEN}


def measure(testbed: Testbed, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Medians of rate and p99 for each variant and load, in turns.

    Runs that one worker had to itself count here: that they happen is the point.
    """
    served = {name: testbed.lab_with(name, **changes) for name, changes in _VARIANTS.items()}
    points: list[dict[str, Any]] = [{"x": name, "rates": {}} for name in served]
    for what, load in _LOADS.items():
        runs: dict[str, list[wrk.Run]] = {name: [] for name in served}
        for _ in range(repeats):
            testbed.warm("lab")
            for name, each in served.items():
                runs[name].append(wrk.once(each, load, seconds))
        for point in points:
            mine = runs[point["x"]]
            point["rates"][what] = (
                statistics.median(run.rate for run in mine),
                statistics.median(run.p99_ms for run in mine),
            )
    return points
