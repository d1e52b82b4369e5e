"""A log that shortens repeated lines to a few lines and a count."""

import logging
import threading
import time
from typing import Any, Final

from cachelayer.background_task import BackgroundTask

#: The number of lines that are written in full. Lines that follow within ``WINDOW`` seconds become
#: one line with a count per window, until a window has none.
MOST: Final = 5
WINDOW: Final = 10.0


class ThrottledLog:
    """Passes lines on to *logger*; counts them instead when they come too often.

    At level DEBUG every line is written.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._task = BackgroundTask("cachelayer-log", lambda: WINDOW, self.sum_up)
        self.start_afresh()

    def start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._began, self._written = -WINDOW, 0
        self._left_out, self._last = 0, ""

    def say(self, level: int, line: str, **kwargs: Any) -> None:
        if not self._logger.isEnabledFor(level):
            return
        if self._is_one_of_many(line):
            self._task.wake()
            level = logging.DEBUG
        self._logger.log(level, "%s", line, **kwargs)

    def sum_up(self) -> bool:
        """Write the count at the end of a window; the next window writes no line in full."""
        with self._lock:
            count, self._left_out = self._left_out, 0
            self._began, self._written = time.monotonic(), MOST
        if count:
            self._logger.warning(
                "%d more lines in %g s are not in this log. The last: %s", count, WINDOW, self._last
            )
        return False

    def _is_one_of_many(self, line: str) -> bool:
        with self._lock:
            if not self._left_out and time.monotonic() - self._began > WINDOW:
                self._began, self._written = time.monotonic(), 0
            self._written += 1
            if self._written <= MOST:
                return False
            self._left_out, self._last = self._left_out + 1, line
            return True
