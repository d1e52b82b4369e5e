"""Clearing: rows, nulls and leases go, in batches; marks stay."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cachelayer import keyspace, link, registry, scripts, states, tenancy
from cachelayer.batches import PIPELINE, batched

#: The cursor with which a walk over the keys begins and ends.
START: Final = "0"

_peek = scripts.load("peek")


def keys(prefixes: Sequence[str] | None = None) -> Iterator[str]:
    """The keys of cached rows, of all registered models or of *prefixes*, by SCAN.

    Also those in which other releases have rows of their own shape (``shapes.py``). A key
    that exists during the whole walk is given at least once.
    """
    if prefixes is None:
        prefixes = [cached.prefix for cached in registry.every()]
        if any(map(tenancy.may_be, registry.databases())):
            for prefix in prefixes:
                yield from _walk(keyspace.pattern("", f"*/{prefix}[:~]"))
    for prefix in prefixes:
        yield from _walk(_pattern(prefix))


def variant_keys(variant: str) -> Iterator[str]:
    """The keys of one *variant*; see ``shapes.py``."""
    return _walk(keyspace.pattern(variant, ":"))


def scan(prefix: str, cursor: str) -> tuple[str, list[str]]:
    """One step of the walk over the keys of *prefix*: the next cursor, and keys.

    It begins with the cursor ``START`` and is over when that comes back. Redis keeps
    nothing between two steps, so another process may go on. Raises ``CacheUnavailable``.
    """
    return _scan(_pattern(prefix), cursor)


def _pattern(prefix: str) -> str:
    return keyspace.pattern(prefix, "[:~]")


def _walk(pattern: str) -> Iterator[str]:
    cursor = START
    while True:
        cursor, found = _scan(pattern, cursor)
        yield from found
        if cursor == START:
            break


def _scan(pattern: str, cursor: str) -> tuple[str, list[str]]:
    found: list[str] = []
    start = keyspace.prefix()
    command = ("SCAN", cursor, "MATCH", pattern, "COUNT", PIPELINE)
    [[after, keys]] = link.round_trip(command)
    for key in keys:
        with suppress(UnicodeDecodeError):  # Then it is none of ours.
            found.append(key.decode().removeprefix(start))
    return str(int(after)), found


@dataclass(frozen=True, slots=True)
class Count:
    """The keys by their states. Not ``exact``: there are more, but time was up."""

    states: Mapping[str, int]
    exact: bool

    @property
    def deletable(self) -> int:
        """What a clear would delete; marks of running transactions stay."""
        return sum(self.states.get(name, 0) for name in ("row", "value", "null", "lease"))

    @property
    def marks(self) -> int:
        return self.states.get("mark", 0)


def count(prefixes: Sequence[str], seconds: float) -> Count:
    """Count what is cached under *prefixes*, for *seconds* at most. Raises ``CacheUnavailable``."""
    deadline = time.monotonic() + seconds
    found: Counter[str] = Counter()
    for batch in batched(keys(prefixes)):
        # A walk may give a key twice.
        distinct = dict.fromkeys(batch)
        values = link.round_trip(*[_peek([key]) for key in distinct])
        found.update(states.name(value or None) for value in values)
        if time.monotonic() > deadline:
            return Count(found, exact=False)
    return Count(found, exact=True)


def clear_all() -> Iterator[int]:
    """Delete everything cached; give the number deleted after each batch.

    Raises ``CacheUnavailable``; what was deleted by then stays deleted.
    """
    for batch in batched(keys()):
        yield states.drop(batch)


def clear_keys(names: Sequence[str]) -> int:
    """Delete these keys; ``ValueError`` for one that belongs to no cached model."""
    for name in names:
        registry.of_key(name).pk(name)
    return sum(states.drop(batch) for batch in batched(names))
