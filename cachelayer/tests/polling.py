"""Waiting for what another thread or process does: a poll with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from cachelayer.redis.gate import gate

T = TypeVar("T")

#: Seconds; this machine may be busy.
DEADLINE = 60.0


def until(call: Callable[[], T], seconds: float = DEADLINE) -> T:
    """What *call* answers as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := call()):
        assert time.monotonic() < deadline, f"this never came true; the gate: {gate.state}"
        time.sleep(0.01)
    return answer
