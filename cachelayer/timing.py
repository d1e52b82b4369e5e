"""How long one request spends in Redis and in Postgres."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

from django.db import connections


@dataclass(slots=True)
class Timing:
    """Milliseconds so far."""

    redis: float = 0.0
    postgres: float = 0.0
    #: Whether SQL statements are timed, too.
    has_clocks: bool = False

    def header(self) -> str:
        """The value of a ``Server-Timing`` header (W3C Server Timing)."""
        return f"redis;dur={self.redis:.3f}, postgres;dur={self.postgres:.3f}"


_current: ContextVar[Timing | None] = ContextVar("cachelayer_timing", default=None)


@contextmanager
def measure() -> Iterator[Timing]:
    """Collect the times of everything that this thread does inside the block.

    Inside another such block, or after ``begin``, the outer ``Timing`` continues.
    """
    outer = _current.get()
    timing = outer or Timing()
    token = _current.set(timing)
    wrapped = [(connection, _clock(timing)) for connection in connections.all()]
    if outer and outer.has_clocks:
        wrapped = []
    timing.has_clocks = True
    for connection, wrapper in wrapped:
        connection.execute_wrappers.append(wrapper)
    try:
        yield timing
    finally:
        for connection, wrapper in wrapped:
            connection.execute_wrappers.remove(wrapper)
        _current.reset(token)


def begin() -> tuple[Timing, Token[Timing | None]]:
    """Start to collect the times of Redis only, which costs least; ``end`` takes the token."""
    timing = Timing()
    return timing, _current.set(timing)


def end(token: Token[Timing | None]) -> None:
    _current.reset(token)


def add_redis(seconds: float) -> None:
    if timing := _current.get():
        timing.redis += seconds * 1000


def redis_spent() -> float:
    """Seconds that this request has spent waiting for Redis."""
    timing = _current.get()
    return timing.redis / 1000 if timing else 0.0


def add_postgres(seconds: float) -> None:
    if timing := _current.get():
        timing.postgres += seconds * 1000


def _clock(timing: Timing) -> Callable[..., Any]:
    def execute_timed(execute: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return execute(*args)
        finally:
            timing.postgres += (time.perf_counter() - start) * 1000

    return execute_timed
