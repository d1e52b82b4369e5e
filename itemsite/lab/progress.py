"""Says what the lab is doing: one live line on a terminal, plain lines in a pipe."""

import contextlib
import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line at once.

    A closed terminal or pipe is not an error: an error would leave servers running.
    """
    out = stream or sys.stdout
    with contextlib.suppress(OSError, ValueError):
        out.write(f"{text}\n")
        out.flush()


class Progress:
    """The steps of something that takes a while, counted from *began* (a Unix time)."""

    def __init__(self, began: float | None = None) -> None:
        self._live = sys.stdout.isatty()
        self._began = began or time.time()
        self._text = ""

    @property
    def seconds(self) -> float:
        return max(0.0, time.time() - self._began)

    def step(self, text: str) -> None:
        """Begin a step; in a pipe, say it once."""
        if text == self._text:
            return
        self._text = text
        if self._live:
            self.tick()
        else:
            say(f"lab: {text}")

    def tick(self) -> None:
        """Show on a terminal that the step is still going on."""
        if self._live and self._text:
            # A line that wraps could not be taken back.
            width = shutil.get_terminal_size().columns - 1
            self._write("\r\x1b[K" + f"{self._text} … {self.seconds:.0f} s"[:width])

    def clear(self) -> None:
        """Take the live line away, for whatever is written next."""
        if self._live and self._text:
            self._write("\r\x1b[K")
        self._text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(text)
            sys.stdout.flush()
