"""The gate: a circuit breaker between this process and Redis.

    closed     Redis is trusted.
    open       The process does not use Redis: reads go to Postgres; writes commit and
               put their keys into the repair log.
    settling   Redis answers again. Writes mark and push, because other processes may
               trust it already; reads still go to Postgres.

A missed answer moves the gate from closed to settling: reads stop; writers still try to mark. Two
things open the gate: a write without a mark, and a reconcile that gets no answer from Redis. So a
process that was only held up (frozen, or short of time) does not write a row without a mark while
others still hit it. Only a reconcile (``reconcile.py``) closes a settling or open gate. It runs in
a separate thread, so no request waits for it. The pattern is Nygard's circuit breaker (Release
It!, 2007); the third state is ours.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from cachelayer import conf, events
from cachelayer.exceptions import Barred, CacheUnavailable, SwitchedOff
from cachelayer.redis import eviction
from cachelayer.throttled_log import ThrottledLog

logger = logging.getLogger("cachelayer.gate")

#: The name of the thread that reconciles.
RECONCILE: Final = "cachelayer-reconcile"


class Mode(Enum):
    CLOSED = "closed"
    SETTLING = "settling"
    OPEN = "open"


class Use(Enum):
    """The purpose of a round trip. A read needs a trusted Redis; a write does not."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class State:
    """The state of the gate: its mode, since when (Unix time), why, and its number of changes."""

    mode: Mode
    since: float
    reason: str
    changes: int = 0


class Gate:
    """One per process. *reconcile* runs in a thread while the gate is not closed."""

    def __init__(self, reconcile: Callable[["Gate"], None]) -> None:
        self.reconcile = reconcile
        self.start_afresh()

    def start_afresh(self) -> None:
        """Close the gate, as in a new process. The first connection verifies Redis."""
        self._lock = threading.Lock()
        self._log = ThrottledLog(logger)
        self._state = State(Mode.CLOSED, time.time(), "")
        self._thread: threading.Thread | None = None
        #: When this process last probed Redis with the gate open (monotonic seconds).
        self.probed_at = time.monotonic()

    @property
    def state(self) -> State:
        return self._state

    @property
    def mode(self) -> Mode:
        return self._state.mode

    def enter(self, use: Use) -> None:
        """Let a round trip through, or raise ``Barred``."""
        if not conf.get().ENABLED:
            raise SwitchedOff
        mode = self._state.mode
        if mode is Mode.CLOSED:
            return
        if self._thread is None:
            self._start()  # It was not started while the layer was switched off.
        if mode is Mode.SETTLING and use is Use.WRITE:
            return
        raise Barred(f"The gate is {mode.value}. {self._state.reason}")

    def suspect(self, error: Exception) -> None:
        """Redis missed an answer. No read trusts it until a reconcile has checked it."""
        # If Redis refused a write, the gate opens in a moment, and that is logged.
        self._change(
            Mode.SETTLING,
            why(error),
            only_if=lambda state: state.mode is Mode.CLOSED,
            level=logging.INFO if isinstance(error, ResponseError) else logging.WARNING,
        )

    def open(self, error: Exception) -> None:
        """A write has no mark, or a reconcile gets no answer or a refusal from Redis."""
        reason = why(error)
        self._change(Mode.OPEN, reason)
        if self._state.reason != reason:
            self.explain(reason)

    def settle(self, reason: str) -> None:
        """Redis answers, but must not be trusted yet."""
        self._change(Mode.SETTLING, reason)

    def close(self, settled: State) -> bool:
        """A reconcile that began in *settled* has ended. Returns whether the gate is closed.

        It is not if it was opened meanwhile. Then a process may have written without a mark, and
        the reconcile has not waited for that write.
        """
        return self._change(Mode.CLOSED, "", only_if=lambda state: state.changes == settled.changes)

    def show(self, mode: Mode, reason: str) -> None:
        """On Redis Cluster, be the sum of the shards' gates, for people. Nothing is reconciled."""
        with self._lock:
            if mode is self._state.mode:
                self._state = replace(self._state, reason=reason)
                return
            self._state = State(mode, time.time(), reason, self._state.changes + 1)
        events.gate_changed(mode.value)

    def explain(self, reason: str) -> None:
        """Set what the reconcile waits for as the reason; the mode does not change."""
        with self._lock:
            if self._state.mode is not Mode.CLOSED:
                self._state = replace(self._state, reason=reason)

    def _change(
        self,
        mode: Mode,
        reason: str,
        only_if: Callable[[State], bool] = lambda state: True,
        level: int = logging.WARNING,
    ) -> bool:
        with self._lock:
            if not only_if(self._state):
                return False
            if mode is not self._state.mode:
                self._state = State(mode, time.time(), reason, self._state.changes + 1)
                self._log.say(level, f"Gate {mode.value}. {reason}")
                events.gate_changed(mode.value)
        if mode is not Mode.CLOSED and conf.get().ENABLED:
            self._start()
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and self._state.mode is not Mode.CLOSED:
                self._thread = threading.Thread(target=self._run, name=RECONCILE, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self.reconcile(self)
            with self._lock:
                # A gate that has been opened again keeps this thread.
                if self._state.mode is Mode.CLOSED:
                    self._thread = None
                    return


def why(error: Exception) -> str:
    """The error from Redis or redis-py, not an error that wraps it, as a reason for people."""
    cause = error.__cause__ if isinstance(error, CacheUnavailable) else None
    said = f"{type(cause or error).__name__}: {cause or error}"
    if isinstance(cause or error, NoPermissionError):
        return f"{said}. `manage.py check --database default` says what the cache needs."
    return f"{eviction.FULL} ({said})" if eviction.means_full(error) else said


def _wait(gate: Gate) -> None:
    """A placeholder until ``reconcile.py`` is imported, which replaces it."""
    time.sleep(conf.get().PROBE_INTERVAL)


gate = Gate(_wait)
os.register_at_fork(after_in_child=gate.start_afresh)
