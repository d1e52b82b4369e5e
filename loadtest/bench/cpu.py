"""Where the processor's time of a run goes: workers, Postgres, Redis."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from loadtest.isolated_lab import children

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def seconds(pids: Sequence[int]) -> dict[int, float]:
    """The processor time of each process so far; those that cannot be seen are left out."""
    found = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # No /proc here, or it has ended: then the split is not known.
        if b"resource_tracker" in command:
            continue  # Python's own, beside uvicorn's workers.
        found[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


class Account:
    """What groups of processes have spent since it was opened."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        """*groups* are pids by name; the children of each are looked up when it is closed."""
        self._groups = groups
        self._before = {name: seconds(_with_children(pids)) for name, pids in groups.items()}

    def per_request(self, requests: int) -> dict[str, float]:
        """Microseconds of each group for each of *requests*."""
        spent: dict[str, float] = {}
        for name, pids in self._groups.items():
            before, after = self._before[name], seconds(_with_children(pids))
            total = sum(after[pid] - before.get(pid, 0.0) for pid in after)
            spent[name] = round(total / max(requests, 1) * 1e6)
        return spent


def _with_children(pids: Sequence[int]) -> list[int]:
    return [each for pid in pids for each in (pid, *children(pid))]
