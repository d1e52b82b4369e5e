"""A million rows: warming, verifying, and the pages that say how many are cached."""

import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import redis

from loadtest.bench.outcome import Outcome
from loadtest.bench.testbed import Testbed
from loadtest.isolated_lab import children

_PIPELINE: Final = 1000


def measure(testbed: Testbed, rows: int, repeats: int) -> list[Outcome]:
    """``cache_warm`` and ``cache_verify`` against COPY and a SET loop; /cache/stats, /metrics."""
    testbed.fill_tables(rows, first=testbed.rows + 1)
    copies, warms, verifies, peaks = [], [], [], []
    for _ in range(repeats):
        copies.append(_copy_and_set(testbed))
        testbed.clear()
        seconds, peak = _timed(testbed, "cache_warm")
        warms.append(seconds)
        peaks.append(peak)
        seconds, peak = _timed(testbed, "cache_verify")
        verifies.append(seconds)
        peaks.append(peak)
    base = statistics.median(copies)
    figures = {"copy_s": copies, "peak_mb": max(peaks)}
    outcomes = [
        Outcome(
            *("bulk", f"cache_{name} of {rows:,} rows / COPY and a SET loop", ratio, 2.0),
            at_least=False,
            figures={**figures, "seconds": series},
        )
        for name, series in (("warm", warms), ("verify", verifies))
        for ratio in [statistics.median(series) / base]
    ]
    peak_goal = 200.0
    outcomes.append(
        Outcome(
            *("bulk", "memory of cache_warm and cache_verify", max(peaks), peak_goal),
            at_least=False,
            unit="MB",
        )
    )
    return outcomes + [_page_time(testbed, path, rows) for path in ("/cache/stats", "/metrics")]


def _copy_and_set(testbed: Testbed) -> float:
    """Seconds for the least that warming could do: every row out of Postgres, into Redis."""
    cache = testbed.redis
    start = time.monotonic()
    with testbed.postgres() as connection, connection.cursor() as cursor:
        pipeline, sent = cache.pipeline(transaction=False), 0
        with cursor.copy("COPY items TO STDOUT") as copy:
            for line in _lines(copy):
                pipeline.set(b"bench:" + line[:36], line, px=300_000)
                sent += 1
                if sent % _PIPELINE == 0:
                    pipeline.execute()
        pipeline.execute()
    seconds = time.monotonic() - start
    _forget(cache)
    return seconds


def _lines(copy: Iterable[Any]) -> Iterator[bytes]:
    for block in copy:
        yield from bytes(block).splitlines()


def _forget(cache: "redis.Redis") -> None:
    cursor: int | bytes = 0
    while True:
        cursor, keys = cache.scan(cursor, match="bench:*", count=10_000)  # type: ignore[arg-type]
        if keys:
            cache.unlink(*keys)
        if not int(cursor):
            return


def _timed(testbed: Testbed, command: str) -> tuple[float, float]:
    """Seconds and MB of a management command; ``RuntimeError`` when it fails."""
    start = time.monotonic()
    process = testbed.lab.talk_to("manage", command, "--json")
    peak = _Peak(process)
    output, _ = process.communicate()
    seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output[-300:]}")
    return seconds, peak.stop()


class _Peak:
    """The most memory that a process and those that it starts have had, in MB."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._peak = process, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            pid = self._process.pid
            for each in (pid, *children(pid)):
                self._peak = max(self._peak, _high_water(each))


def _high_water(pid: int) -> float:
    # psutil has no peak.
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _page_time(testbed: Testbed, path: str, rows: int) -> Outcome:
    took = []
    for _ in range(30):
        start = time.perf_counter()
        testbed.get(path)
        took.append((time.perf_counter() - start) * 1000)
    return Outcome(
        *("bulk", f"{path} with {rows:,} cached rows", statistics.median(took), 20.0),
        at_least=False,
        unit="ms",
        spread=(min(took), max(took)),
    )
