"""The gates and round trips of every process on this host, from their shared metrics.

With ``PROMETHEUS_MULTIPROC_DIR``, each process keeps its metrics in files there. Without it, or
without prometheus_client, only this process is known.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

from cachelayer.redis.gate import Mode, gate

_GATE: Final = "cachelayer_gate_open"
_CHANGED: Final = "cachelayer_gate_changed_timestamp_seconds"
_SECONDS: Final = "cachelayer_redis_seconds"


@dataclass(frozen=True, slots=True)
class Process:
    """Whether a process bypasses Redis, and since when (Unix time; 0: since its start)."""

    pid: int
    passes_redis: bool
    changed: float


@dataclass(frozen=True, slots=True)
class Processes:
    """``all_known`` says whether it includes every process of this host."""

    gates: Sequence[Process]
    all_known: bool

    @property
    def passing_redis(self) -> int:
        return sum(process.passes_redis for process in self.gates)


@dataclass(frozen=True, slots=True)
class Latency:
    """Round trips of one operation since the processes started, in seconds."""

    operation: str
    count: int
    median: float
    p99: float


def gates() -> Processes:
    """The gate of every live process."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder or not _has_prometheus():
        state = gate.state
        changed = state.since if state.changes else 0.0
        own = Process(os.getpid(), state.mode is not Mode.CLOSED, changed)
        return Processes([own], all_known=False)
    found = []
    for path in sorted(Path(folder).glob("gauge_livesum_*.db")):
        pid = int(path.stem.rpartition("_")[2])
        if _is_alive(pid) and _is_written(path):
            changed = _value(path.with_name(f"gauge_livemax_{pid}.db"), _CHANGED)
            found.append(Process(pid, bool(_value(path, _GATE)), changed))
    return Processes(found, all_known=True)


def latencies() -> list[Latency]:
    """The latency of each operation that was used; empty without prometheus_client."""
    if not _has_prometheus():
        return []
    buckets: dict[str, list[tuple[float, float]]] = {}
    for sample in _samples():
        if sample.name == f"{_SECONDS}_bucket":
            bound = float(sample.labels["le"])
            buckets.setdefault(sample.labels["operation"], []).append((bound, sample.value))
    return [
        Latency(name, int(total), quantile(found, 0.5), quantile(found, 0.99))
        for name, unsorted in buckets.items()
        if (found := sorted(unsorted)) and (total := found[-1][1])
    ]


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """Like Prometheus's ``histogram_quantile``: linear inside the bucket that holds the quantile.

    *buckets* are pairs (upper bound, cumulative count), ascending; the last bound is infinite.
    """
    wanted = share * buckets[-1][1]
    below, lower = 0.0, 0.0
    for upper, count in buckets[:-1]:
        if count >= wanted and count > below:
            return lower + (upper - lower) * (wanted - below) / (count - below)
        below, lower = count, upper
    return lower


def _has_prometheus() -> bool:
    return find_spec("prometheus_client") is not None


def _samples() -> "Iterable[Sample]":
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        families = MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call]
    else:
        # Collect only the histogram, because other collectors may ask servers.
        families = REGISTRY.restricted_registry([f"{_SECONDS}_bucket"]).collect()
    return [sample for family in families if family.name == _SECONDS for sample in family.samples]


def _value(path: Path, name: str) -> float:
    """The gauge *name* in the file of one process."""
    from prometheus_client.multiprocess import MultiProcessCollector

    families = MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
    values: list[float] = [
        sample.value for family in families for sample in family.samples if sample.name == name
    ]
    return sum(values)


def _is_written(path: Path) -> bool:
    """Whether the file has content. A process may have just created it, or have deleted it."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    """Whether the process runs. Without gunicorn, nothing deletes the files of a dead process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
