"""One run of the load generator, and how evenly the workers shared its work."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadtest.bench import cpu
from loadtest.bench.say import say
from loadtest.isolated_lab import Served

_SCRIPT: Final = Path(__file__).with_name("requests.lua")
#: Below this share of the busiest worker's time a worker was left out of the run.
BALANCED: Final = 0.6
#: How often a run that was not balanced is tried again.
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: see requests.lua for *mode*."""

    mode: str
    first: int = 1
    count: int = 2000
    path: str = "/items"
    clients: int = 16
    #: The paths of the mode "changing".
    pages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One run: answers per second, milliseconds, what went wrong, and how balanced it was."""

    rate: float
    requests: int
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int
    #: The idlest worker's CPU time as a share of the busiest one's.
    balance: float
    #: Runs before it that were not balanced, and do not count.
    discarded: int = 0
    #: Requests of this run and of those before it.
    all_requests: int = 0


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def once(served: Served, load: Load, seconds: float) -> Run:
    """One run, however it was shared."""
    command = [
        *("wrk", "-t1", f"-c{load.clients}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(_SCRIPT), served.url, "--"),
        *(load.mode, str(load.first), str(load.count), load.path, *load.pages),
    ]
    before = cpu.seconds(served.workers)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = cpu.seconds(served.workers)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Run(
        rate=(said["requests"] - said["uncounted"]) / said["seconds"],
        requests=said["requests"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        refused=said["refused"],
        broken=said["broken"],
        balance=cpu.balance(before, after),
        all_requests=said["requests"],
    )


#: A load generator.
Once = Callable[[Served, Load, float], Run]


def run(served: Served, load: Load, seconds: float, once: Once = once) -> Run:
    """Load *served* by *once*; a run that landed on one worker is thrown away and done again.

    A worker keeps the connections that it has accepted, so now and then a load of 16
    connections has no use for the second worker. So is a run of which more than a hundredth was
    refused: on a busy machine Redis may answer too late, and Postgres take no more connections.
    ``RuntimeError`` when every try ends so.
    """
    best: Run | None = None
    runs = requests = 0
    while runs < _TRIES:
        found = once(served, load, seconds)
        runs += 1
        requests += found.requests
        if found.refused > found.requests / 100:
            said = f"{load.path} refused {found.refused} of {found.requests} requests"
            say(f"{said}: that run does not count.")
            continue
        if best is None or found.balance > best.balance:
            best = found
        if found.balance >= BALANCED:
            break
    if best is None:
        raise RuntimeError(f"{served.url}{said} in the last of {_TRIES} runs.")
    if best.balance < BALANCED:
        say(f"no balanced run in {_TRIES}: one worker did {best.balance:.0%} of another's work")
    return replace(best, discarded=runs - 1, all_requests=requests)
