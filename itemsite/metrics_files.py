"""The files of prometheus_client's multiprocess mode: a dead worker's are folded into one.

Each worker counts in its own files, named by its pid, and /metrics adds up all that
are there. A dead worker's must go on being counted, but its files can go: its
counts are added to those of all dead workers before it, in one file of each kind.

A lock keeps the two apart: who reads sees a worker's counts in its own file or among the
dead, never in both or in neither. So what is shown never goes down.
"""

import fcntl
import glob
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

logger = logging.getLogger("itemsite.metrics_files")

#: In place of a pid: all that are dead.
_DEAD: Final = "dead"
#: Seconds to wait for readers. gunicorn's master does nothing else meanwhile, and a
#: reader may have been paused; what is not folded now is with the next dead worker.
_PATIENCE: Final = 1.0

Values = dict[str, tuple[float, float]]  # By key: the value, and when it was set.
_unfolded: set[int] = set()


def clear(folder: Path) -> None:
    """Forget what was counted before: for a start with no worker alive."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.db"):
        path.unlink(missing_ok=True)


def fold(folder: Path, pid: int, alive: Iterable[int] = ()) -> None:
    """Add the counts of dead process *pid* to those of the dead; its live gauges go.

    *alive* are the workers that run. One of them may have the pid of a dead one that is
    still to be folded: it counts on in those files, so they are its own now.
    """
    for path in folder.glob(f"gauge_live*_{pid}.db"):
        path.unlink(missing_ok=True)
    _unfolded.add(pid)
    _unfolded.difference_update(alive)
    try:
        with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            while _unfolded:
                for path in sorted(folder.glob(f"*_{_unfolded.pop()}.db")):
                    _fold_file(path)
    except BlockingIOError:
        logger.info("Somebody reads the metrics; process %d is folded later.", pid)


class Collector(MultiProcessCollector):
    """The metrics of all processes that count in *folder*."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        with _locked(self._folder, fcntl.LOCK_SH):
            found = glob.glob(os.path.join(glob.escape(str(self._folder)), "*.db"))
            # A worker that has just been forked makes its files: nothing is in one yet.
            files = [path for path in found if os.path.getsize(path)]
            return list(self.merge(files, accumulate=True))  # type: ignore[no-untyped-call]


def _fold_file(path: Path) -> None:
    kind = path.name.rpartition("_")[0]
    if join := _JOIN.get(kind):
        archive = path.with_name(f"{kind}_{_DEAD}.db")
        values = _read(archive) if archive.exists() else {}
        for key, value in _read(path).items():
            values[key] = join(values[key], value) if key in values else value
        _write(archive, values)
    # A gauge that is shown for each process is dropped with its process.
    path.unlink()


def _add(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] + b[0], 0.0


def _latest(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return max(a, b, key=lambda pair: pair[1])


#: How two processes' values become one; by kind of file.
_JOIN: Final[dict[str, Callable[[Any, Any], tuple[float, float]]]] = {
    "counter": _add,
    "histogram": _add,
    "summary": _add,
    "gauge_sum": _add,
    "gauge_max": max,
    "gauge_min": min,
    "gauge_mostrecent": _latest,
}


def _read(path: Path) -> Values:
    try:
        found = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        return {key: (value, set_at) for key, value, set_at, _ in found}
    except (struct.error, RuntimeError, UnicodeDecodeError):
        # A process that was killed while it made the file has counted nothing in it.
        logger.warning("%s cannot be read; what it counted is lost.", path)
        return {}


def _write(path: Path, values: Values) -> None:
    # Not *.db as yet: nobody reads half of it.
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, (value, set_at) in values.items():
        written.write_value(key, value, set_at)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    new.replace(path)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the folder's lock; ``BlockingIOError`` if it cannot be had in time."""
    with (folder / "lock").open("a") as lock:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(lock, how)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
