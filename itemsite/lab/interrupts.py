"""Ctrl-C, ``kill`` and a closed terminal, as an exception in the main thread."""

import signal
from types import FrameType


class Interrupted(BaseException):
    """Somebody asked the lab to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def raise_on_interrupts() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise ``Interrupted``."""
    signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)
    # nohup ignores it on purpose.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _raise)


def ignore_interrupts() -> None:
    """While things stop: an impatient second Ctrl-C must not leave servers behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
