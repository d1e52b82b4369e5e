"""One run of the Locust story: people who read, turn pages, write, and check what they wrote.

Locust is Python and takes its share of the processor; how much stands in the figures of the row,
as ``generator``. Its people wait between what they do, so there are as many as keep two workers
busy all the time.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import loadtest
from loadtest.bench import cpu
from loadtest.bench.wrk import Load, Run
from loadtest.isolated_lab import Served

_LOCUSTFILE: Final = Path(loadtest.__file__).with_name("locustfile.py")
#: Seconds: at first all make their rows, which the story does not go on with.
_LEAST: Final = 10.0
STORY: Final = Load("story", clients=400)


def once(served: Served, load: Load, seconds: float) -> Run:
    """One run, however it was shared; ``RuntimeError`` when a read was stale."""
    with tempfile.TemporaryDirectory() as folder:
        before = cpu.seconds(served.workers)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--host", served.url),
                *("--headless", "--plain", "--only-summary", "--csv", f"{folder}/run"),
                *("--users", str(load.clients), "--spawn-rate", str(load.clients)),
                *("--run-time", f"{round(max(seconds, _LEAST))}s"),
                # How many failed, and how long it took, is for the row to say.
                *("--max-fail-ratio", "1", "--max-p95", "1e9"),
            ],
            capture_output=True,
            text=True,
        )
        after = cpu.seconds(served.workers)
        if done.returncode:
            raise RuntimeError(f"Locust: {done.stderr.strip()[-600:]}")
        with Path(folder, "run_stats.csv").open(newline="") as file:
            total = list(csv.DictReader(file))[-1]
    requests = int(total["Request Count"])
    return Run(
        rate=float(total["Requests/s"]),
        requests=requests,
        p50_ms=float(total["50%"]),
        p99_ms=float(total["99%"]),
        refused=int(total["Failure Count"]),
        broken=0,
        balance=cpu.balance(before, after),
        all_requests=requests,
    )
