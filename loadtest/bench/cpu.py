"""Where the processor's time of a run goes: workers, Postgres, Redis, the load generator."""

import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from loadtest.isolated_lab import children


def seconds(pids: Sequence[int]) -> dict[int, float]:
    """The processor time of each process so far; those that cannot be seen are left out."""
    found = {}
    for pid in pids:
        # A process that has ended, or is another user's: then the split is not known.
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            # Python's own process beside uvicorn's workers is not a worker.
            if not any("resource_tracker" in word for word in process.cmdline()):
                times = process.cpu_times()
                found[pid] = times.user + times.system
    return found


def balance(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """What the idlest worker has spent between two calls of ``seconds``, of the busiest's."""
    spent = sorted(after[pid] - before.get(pid, 0.0) for pid in after)
    return spent[0] / spent[-1] if spent and spent[-1] else 1.0


class Account:
    """What groups of processes have spent since it was opened.

    As ``generator``, what processes have spent that this one has started and that have ended.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        """*groups* are pids by name; the children of each are looked up when it is closed."""
        self._groups = groups
        self._before = {name: seconds(_with_children(pids)) for name, pids in groups.items()}
        self._ended = _ended()

    def per_request(self, requests: int) -> dict[str, float]:
        """Microseconds of each group for each of *requests*."""
        spent: dict[str, float] = {}
        for name, pids in self._groups.items():
            before, after = self._before[name], seconds(_with_children(pids))
            total = sum(after[pid] - before.get(pid, 0.0) for pid in after)
            spent[name] = round(total / max(requests, 1) * 1e6)
        spent["generator"] = round((_ended() - self._ended) / max(requests, 1) * 1e6)
        return spent


def _ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _with_children(pids: Sequence[int]) -> list[int]:
    return [each for pid in pids for each in (pid, *children(pid))]
