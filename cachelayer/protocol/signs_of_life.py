"""Signs of life from the process that reconciles, so that no other one takes over too early.

A takeover begins with a new epoch, and ends the sweep of the process before. Without signs:
1. A sweep of a million rows takes longer than an owner may be silent. 2. A second process takes it
for dead, and sweeps from the start. 3. So does a third, and no sweep ever comes to its end.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import incarnation, keyspace, transport
from cachelayer.redis.gate import Mode, gate

A = TypeVar("A")
R = TypeVar("R")

KEY: Final = "cachelayer:progress"
#: After this many probe intervals without a sign, the process that is settling is taken for dead,
#: and another takes over.
ABANDONED = 20
#: Milliseconds that a sign stays in Redis.
_KEPT: Final = 60_000
#: How often a step is tried.
_TRIES: Final = 3


class Signs:
    """Those of one attempt to reconcile.

    *reconciled* has, by shard, what follows the server's name in the incarnation (``settling 7``).
    One Redis is no shard: ``None``.
    """

    def __init__(self, reconciled: Mapping[int, str] | Mapping[None, str]) -> None:
        self._reconciled, self._count, self._due = reconciled, 0, 0.0

    def give(self) -> None:
        """Give a sign, if one is due. Never raises."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + conf.get().PROBE_INTERVAL
        self._count += 1
        with suppress(CacheUnavailable):
            signs = [
                ("SET", *keyspace.all_of([KEY], shard), f"{state} {self._count}", "PX", _KEPT)
                for shard, state in self._reconciled.items()
            ]
            transport.round_trip(*signs)

    def step(self, work: Callable[[A], R], argument: A) -> R:
        """``work(argument)``, a step that may be repeated, with a sign.

        One lost answer out of thousands does not end a sweep. Raises ``CacheUnavailable``.
        """
        self.give()
        for _ in range(_TRIES - 1):
            try:
                return work(argument)
            except CacheUnavailable:
                if gate.mode is Mode.OPEN:
                    raise
        return work(argument)


class Watch:
    """What one process has seen of others that reconcile one Redis, or one shard."""

    def __init__(self) -> None:
        self._seen, self._since = "", 0.0

    def is_abandoned(self, found: incarnation.Incarnation, sign: bytes | None) -> bool:
        """Whether the reconcile of *found*, whose last *sign* this is, has given none for long."""
        if found.is_trusted or found.is_foreign:
            return False
        return self.is_silent(found.epoch, sign)

    def is_silent(self, epoch: str, sign: bytes | None) -> bool:
        """Whether whoever reconciles for *epoch* has given no sign but this for long."""
        seen, now = f"{epoch} {sign!r}", time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > ABANDONED * conf.get().PROBE_INTERVAL


def last(connection: Any) -> bytes | None:
    """The last sign in the Redis behind redis-py's *connection*; raises ``RedisError``."""
    key = keyspace.prefix_by(partial(incarnation.ask, connection)) + KEY
    [sign] = incarnation.ask(connection, ("GET", key))
    return sign if isinstance(sign, bytes) else None
