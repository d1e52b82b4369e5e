"""The gate: a circuit breaker between this process and Redis.

Closed, calls go through. A call that fails opens the gate; while it is open
nobody in the process talks to Redis, reads go to Postgres and writes commit.
After ``PROBE_INTERVAL`` one caller is let through as the probe: if Redis
answers it, the gate closes.

The pattern is Nygard's circuit breaker (Release It!, 2007).
"""

import logging
import threading
import time
from dataclasses import dataclass

from cachelayer import conf

logger = logging.getLogger("cachelayer.gate")


class CacheUnavailable(Exception):  # noqa: N818  (Django: ObjectDoesNotExist, Http404)
    """Redis did not answer, or the gate is open. The caller goes on without it."""


@dataclass(frozen=True, slots=True)
class State:
    """What the gate shows: open or closed, since when (Unix time), and why."""

    open: bool
    since: float
    reason: str


class Gate:
    """One per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = State(open=False, since=time.time(), reason="")
        self._probe_at = 0.0

    @property
    def state(self) -> State:
        return self._state

    def enter(self) -> None:
        """Let one call through, or raise ``CacheUnavailable``."""
        if not self._state.open:
            return
        with self._lock:
            now = time.monotonic()
            if self._state.open and now < self._probe_at:
                raise CacheUnavailable(self._state.reason)
            # This caller is the probe; the others stay out until it is back.
            self._probe_at = now + conf.get().PROBE_INTERVAL

    def succeeded(self) -> None:
        if not self._state.open:
            return
        with self._lock:
            if self._state.open:
                self._state = State(open=False, since=time.time(), reason="")
                logger.warning("Gate closed: Redis answers again.")

    def failed(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        with self._lock:
            self._probe_at = time.monotonic() + conf.get().PROBE_INTERVAL
            if not self._state.open:
                self._state = State(open=True, since=time.time(), reason=reason)
                logger.warning("Gate open: going on without Redis. %s", reason)

    def reset(self) -> None:
        """Closed, as in a new process."""
        with self._lock:
            self._state = State(open=False, since=time.time(), reason="")


gate = Gate()
