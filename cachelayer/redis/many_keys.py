"""Runs a script on many keys: in parts, so that no part holds up Redis, in one round trip.

What one script does to its keys is atomic, but nothing relies on that: each key has its own state,
and its own answer. This is the one place that decides which keys share a script.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from cachelayer.redis import transport
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import Use
from cachelayer.redis.scripts import Command

T = TypeVar("T")

#: How many keys one script leases, fills or compares. A fill of so many rows takes 0.6 ms, and
#: Redis serves other connections before the next one.
SCRIPT: Final = 250


def ask(items: Sequence[T], command: Callable[[Sequence[T]], Command]) -> list[Any]:
    """The answer for each of *items*, in their order, by scripts for reads.

    *command* makes the command for some of *items*. It answers with one answer for each, or with a
    number that is the answer for all of them. Raises ``CacheUnavailable``.
    """
    parts = [*batched(items, SCRIPT)]
    if not parts:
        return []
    answers = transport.round_trip(*map(command, parts), use=Use.READ)
    found: list[Any] = []
    for part, answer in zip(parts, answers, strict=True):
        found += [answer] * len(part) if isinstance(answer, int) else answer
    return found
