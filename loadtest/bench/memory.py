"""Whether a worker's memory stays flat over many requests."""

from typing import Final

import psutil

from loadtest.bench import wrk
from loadtest.bench.outcome import Outcome
from loadtest.bench.testbed import HOT, Testbed

#: MB per worker that allocators and caches may still move after the first tenth.
_FLAT: Final = 8.0
_STEP: Final = 5.0


def measure(testbed: Testbed, requests: int) -> list[Outcome]:
    """Growth of the largest worker from a tenth of *requests* on, in MB."""
    done = 0.0
    course: list[tuple[int, float]] = []
    while done < requests:
        testbed.warm("lab")
        run = wrk.run(testbed.lab.web, HOT, _STEP)
        done += run.rate * _STEP
        course.append((round(done), _megabytes(testbed.lab.web.workers)))
    settled = next(size for count, size in course if count >= requests / 10)
    growth = course[-1][1] - settled
    return [
        Outcome(
            *("memory", f"memory of a worker after {requests:,} hits: growth", growth, _FLAT),
            at_least=False,
            unit="MB",
            figures={"course": course},
        )
    ]


def _megabytes(pids: list[int]) -> float:
    return max(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20
