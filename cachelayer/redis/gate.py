"""The gate: a circuit breaker between this process and Redis.

    closed     Redis is trusted.
    open       nobody in the process talks to Redis: reads go to Postgres, writes
               commit and put their keys into the repair log.
    settling   Redis answers again. Writes mark and push, for others may trust it
               already; reads still go to Postgres.

A missed answer takes it from closed to settling: reads stop, writers go on marking,
each with tries of its own. Only who goes without a mark opens it, and a reconcile
that finds nobody there. So a process that was only held up (frozen, or short of
time) does not write without a mark what others still hit. From settling and open
only a reconcile (``reconcile.py``), in a thread of its own and on no request's time,
closes it. The pattern is Nygard's circuit breaker (Release It!, 2007); the third
state is ours.
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
    """What a round trip is for: a read needs trust in what Redis holds, a write does not."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class State:
    """What the gate shows: its mode, since when (Unix time), why, and changes so far."""

    mode: Mode
    since: float
    reason: str
    changes: int = 0


class Gate:
    """One per process. *reconcile* is run in a thread as long as the gate is not closed."""

    def __init__(self, reconcile: Callable[["Gate"], None]) -> None:
        self.reconcile = reconcile
        self.start_afresh()

    def start_afresh(self) -> None:
        """Closed, as in a new process: its first connection finds out."""
        self._lock = threading.Lock()
        self._log = ThrottledLog(logger)
        self._state = State(Mode.CLOSED, time.time(), "")
        self._thread: threading.Thread | None = None
        #: When Redis was last looked at while open (monotonic seconds).
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
            self._start()  # Not started while the layer was switched off.
        if mode is Mode.SETTLING and use is Use.WRITE:
            return
        raise Barred(f"The gate is {mode.value}. {self._state.reason}")

    def suspect(self, error: Exception) -> None:
        """An answer was missed: no read believes Redis until a reconcile has looked."""
        # What Redis refuses to a write opens the gate in a moment, and that is said.
        self._change(
            Mode.SETTLING,
            _why(error),
            only_if=lambda state: state.mode is Mode.CLOSED,
            level=logging.INFO if isinstance(error, ResponseError) else logging.WARNING,
        )

    def open(self, error: Exception) -> None:
        """A write goes without its mark, or a reconcile finds no Redis, or one that refuses it."""
        reason = _why(error)
        self._change(Mode.OPEN, reason)
        if self._state.reason != reason:
            self.explain(reason)

    def settle(self, reason: str) -> None:
        """Redis answers and must not be trusted yet."""
        self._change(Mode.SETTLING, reason)

    def close(self, settled: State) -> bool:
        """A reconcile that began in *settled* has ended. Answers whether the gate is closed.

        Not if it was opened meanwhile: then somebody may have written without a
        mark, and what the reconcile has waited for is not enough.
        """
        return self._change(Mode.CLOSED, "", only_if=lambda state: state.changes == settled.changes)

    def explain(self, reason: str) -> None:
        """What the reconcile waits for; the gate stays as it is."""
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
                # A gate that was opened again meanwhile keeps this thread.
                if self._state.mode is Mode.CLOSED:
                    self._thread = None
                    return


def _why(error: Exception) -> str:
    """What Redis or redis-py has said, not what that was turned into."""
    cause = error.__cause__ if isinstance(error, CacheUnavailable) else None
    said = f"{type(cause or error).__name__}: {cause or error}"
    if isinstance(cause or error, NoPermissionError):
        return f"{said}. `manage.py check --database default` says what the cache needs."
    return f"{eviction.FULL} ({said})" if eviction.means_full(error) else said


def _wait(gate: Gate) -> None:
    """Until ``reconcile.py`` is imported, which puts its own in the place of this."""
    time.sleep(conf.get().PROBE_INTERVAL)


gate = Gate(_wait)
os.register_at_fork(after_in_child=gate.start_afresh)
