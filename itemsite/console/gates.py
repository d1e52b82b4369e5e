"""The gates of all workers: one process knows only its own."""

import struct
from pathlib import Path
from typing import Final

from prometheus_client.multiprocess import MultiProcessCollector

from cachelayer.gate import Mode, gate
from itemsite.environment import WebEnvironment
from itemsite.lab.process import identity

_METRIC: Final = "cachelayer_gate_open"


def collect() -> dict[str, int]:
    """How many workers there are, and how many of them go past Redis now.

    From the folder in which the workers share their metrics; without one there is
    this process only.
    """
    folder = WebEnvironment.read().metrics_dir
    # Only files of such gauges: to merge all metrics would take too long for a poll.
    files = sorted(Path(folder).glob("gauge_livesum_*.db")) if folder else []
    found = [value for path in files if _is_alive(path) and (value := _value(path)) is not None]
    if not found:
        found = [float(gate.mode is not Mode.CLOSED)]
    return {"workers": len(found), "open": sum(value > 0 for value in found)}


def _is_alive(path: Path) -> bool:
    """Whether the process that the file is named after runs; gunicorn's check left one, too."""
    pid = path.stem.rpartition("_")[2]
    return pid.isdigit() and identity(int(pid)) is not None


def _value(path: Path) -> float | None:
    try:
        metrics = MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
    except (OSError, ValueError, struct.error):
        return None  # A worker that has just gone, or has just come.
    for metric in metrics:
        if metric.name == _METRIC:
            return float(metric.samples[0].value)
    return None
