"""Background work of a process: at most once per interval, and only while it is busy."""

import os
import threading
import weakref
from collections.abc import Callable


class BackgroundTask:
    """Runs *task* in a daemon thread within one *interval* (seconds) of a ``wake()``.

    *task* returns whether it wants to run again. The first ``wake()`` starts the thread, also in
    a forked child.
    """

    def __init__(self, name: str, interval: Callable[[], float], task: Callable[[], bool]) -> None:
        self._name, self._interval, self._task = name, interval, task
        self._start_afresh()
        _all.add(self)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._now = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a run within one interval. Cheap when a run is already due."""
        if self._busy.is_set():
            return
        self._busy.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:
                        # The interpreter is shutting down, or there are too many threads.
                        self._busy.clear()
                        return
                    self._thread = thread

    def wake_now(self) -> None:
        """Ask for a run at once."""
        self._now.set()
        self.wake()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            self._now.wait(self._interval())
            self._now.clear()
            self._busy.clear()
            if self._task():
                self._busy.set()


_all: "weakref.WeakSet[BackgroundTask]" = weakref.WeakSet()


def _start_all_afresh() -> None:
    # A parent's threads do not exist in its child, and its locks may be held there.
    for task in _all:
        task._start_afresh()


os.register_at_fork(after_in_child=_start_all_afresh)
