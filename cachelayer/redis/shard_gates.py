"""A gate for each shard of a Redis Cluster; see ``gate.py`` for its three modes.

The gate of a shard concerns the keys of that shard alone. What happens to a node happens to all of
its shards; what happens to a slot that moves, to one. One thread reconciles all shards whose gates
are not closed. The gate of the process (``gate.gate``) only shows the sum: closed if all are, open
if all are, else settling.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from redis.exceptions import ResponseError

from cachelayer import conf
from cachelayer.exceptions import Barred, SwitchedOff
from cachelayer.redis import gate as gates
from cachelayer.redis import shards
from cachelayer.redis.gate import RECONCILE, Mode, State, Use
from cachelayer.throttled_log import ThrottledLog

logger = logging.getLogger("cachelayer.gate")

_CLOSED: Final = State(Mode.CLOSED, 0.0, "")


class ShardGates:
    """The gates of all shards of this process. *reconcile* runs while one is not closed."""

    def __init__(self, reconcile: Callable[["ShardGates"], None]) -> None:
        self.reconcile = reconcile
        self.start_afresh()

    def start_afresh(self) -> None:
        """Close all gates, as in a new process."""
        self._lock = threading.Lock()
        self._log = ThrottledLog(logger)
        self._states: list[State] = [_CLOSED] * shards.COUNT
        self._thread: threading.Thread | None = None
        #: By shard: when this process last probed it with the gate open (monotonic seconds).
        self.probed_at = [time.monotonic()] * shards.COUNT

    def state(self, shard: int) -> State:
        return self._states[shard]

    def not_closed(self) -> dict[int, State]:
        """The shards whose gates are not closed."""
        return {s: each for s, each in enumerate(self._states) if each.mode is not Mode.CLOSED}

    def enter(self, shard: int, use: Use) -> None:
        """Let a round trip for *shard* through, or raise ``Barred``."""
        if not conf.get().ENABLED:
            raise SwitchedOff
        state = self._states[shard]
        if state.mode is Mode.CLOSED:
            return
        if self._thread is None:
            self._start()
        if state.mode is Mode.SETTLING and use is Use.WRITE:
            return
        raise Barred(f"The gate of these keys is {state.mode.value}. {state.reason}")

    def suspect(self, which: Iterable[int], error: Exception) -> None:
        """The node of these shards missed an answer, or refused one."""
        level = logging.INFO if isinstance(error, ResponseError) else logging.WARNING
        self._change(which, Mode.SETTLING, gates.why(error), {Mode.CLOSED}, level)

    def open(self, which: Iterable[int], error: Exception) -> None:
        """A write to these shards has no mark, or a reconcile gets no answer."""
        self._change(which, Mode.OPEN, gates.why(error), {Mode.CLOSED, Mode.SETTLING})

    def settle(self, which: Iterable[int], reason: str) -> None:
        """The node of these shards answers, but must not be trusted yet."""
        self._change(which, Mode.SETTLING, reason, {Mode.CLOSED, Mode.OPEN})

    def close(self, settled: dict[int, State]) -> set[int]:
        """A reconcile has ended that began when the shards were *settled*; return those closed.

        Not closed is a shard whose gate has changed meanwhile: a process may have written without
        a mark, and the reconcile has not waited for it.
        """
        return {*self._change(settled, Mode.CLOSED, "", {Mode.SETTLING}, unchanged=settled)}

    def explain(self, which: Iterable[int], reason: str) -> None:
        """Set what the reconcile waits for as the reason."""
        with self._lock:
            for shard in which:
                old = self._states[shard]
                if old.mode is not Mode.CLOSED:
                    self._states[shard] = State(old.mode, old.since, reason, old.changes)
        self._show(reason)

    def _change(
        self,
        which: Iterable[int],
        mode: Mode,
        reason: str,
        only_in: set[Mode],
        level: int = logging.WARNING,
        unchanged: Mapping[int, State] = MappingProxyType({}),
    ) -> list[int]:
        """Change the gates that are *only_in* these modes, and *unchanged*; return which."""
        with self._lock:
            changed = [
                shard
                for shard in dict.fromkeys(which)
                if (state := self._states[shard]).mode in only_in
                and state.changes == unchanged.get(shard, state).changes
            ]
            now = time.time()
            for shard in changed:
                before = self._states[shard]
                self._states[shard] = State(mode, now, reason, before.changes + 1)
            if changed:
                self._log.say(level, f"Gate {mode.value} for {_listed(changed)}. {reason}")
        if changed:
            self._show(reason)
        if mode is not Mode.CLOSED and conf.get().ENABLED:
            self._start()
        return changed

    def _show(self, reason: str) -> None:
        """Set the gate of the process to the sum of these."""
        modes = Counter(state.mode for state in self._states)
        if modes[Mode.CLOSED] == shards.COUNT:
            gates.gate.show(Mode.CLOSED, "")
            return
        others = shards.COUNT - modes[Mode.CLOSED]
        is_all = modes[Mode.OPEN] == shards.COUNT
        gates.gate.show(
            Mode.OPEN if is_all else Mode.SETTLING, f"{others} of {shards.COUNT} shards: {reason}"
        )

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and any(s.mode is not Mode.CLOSED for s in self._states):
                self._thread = threading.Thread(target=self._run, name=RECONCILE, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self.reconcile(self)
            with self._lock:
                if all(state.mode is Mode.CLOSED for state in self._states):
                    self._thread = None
                    return


def _listed(which: list[int]) -> str:
    if len(which) == 1:
        return f"shard {which[0]} (slot {shards.slots()[which[0]]})"
    return f"{len(which)} of {shards.COUNT} shards"


def _wait(held: ShardGates) -> None:
    """A placeholder until ``reconcile_shards.py`` is imported, which replaces it."""
    time.sleep(conf.get().PROBE_INTERVAL)


shard_gates = ShardGates(_wait)
os.register_at_fork(after_in_child=shard_gates.start_afresh)
