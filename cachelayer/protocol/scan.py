"""Finds the cached keys by SCAN."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from cachelayer.redis import keyspace, transport
from cachelayer.redis.batches import PIPELINE
from cachelayer.representation import registry, tenancy

#: The cursor at the beginning and at the end of a scan.
START: Final = "0"


#: One step of a scan.
Step = Callable[[str], tuple[str, list[str]]]
#: Calls a step; it may repeat it, because Redis keeps no state between steps.
By = Callable[[Step, str], tuple[str, list[str]]]


def once(step: Step, cursor: str) -> tuple[str, list[str]]:
    """Call *step* once."""
    return step(cursor)


def keys(prefixes: Sequence[str] | None = None, *, by: By = once) -> Iterator[str]:
    """The keys of cached rows, of all registered models or of *prefixes*.

    This includes the variants of other releases (``variants.py``). A key that exists during the
    whole scan is returned at least once. Each step is called *by* that function, such as
    ``patiently``.
    """
    if prefixes is None:
        prefixes = [cached.prefix for cached in registry.every()]
        if any(map(tenancy.may_be, registry.databases())):
            for prefix in prefixes:
                yield from _walk(keyspace.pattern("", f"*/{prefix}[:~]"), by)
    for prefix in prefixes:
        yield from _walk(_pattern(prefix), by)


def variant_keys(variant: str) -> Iterator[str]:
    """The keys of one *variant*; see ``variants.py``."""
    return _walk(keyspace.pattern(variant, ":"))


def scan(prefix: str, cursor: str) -> tuple[str, list[str]]:
    """One step of a scan over the keys of *prefix*: the next cursor, and keys.

    A scan begins with the cursor ``START``, and is complete when that cursor comes back. Redis
    keeps no state between steps, so another process may continue. Raises ``CacheUnavailable``.
    """
    return _scan(_pattern(prefix), cursor)


def _pattern(prefix: str) -> str:
    return keyspace.pattern(prefix, "[:~]")


def _walk(pattern: str, by: By = once) -> Iterator[str]:
    cursor = START
    step = partial(_scan, pattern)
    while True:
        cursor, found = by(step, cursor)
        yield from found
        if cursor == START:
            break


def _scan(pattern: str, cursor: str) -> tuple[str, list[str]]:
    found: list[str] = []
    start = keyspace.prefix()
    command = ("SCAN", cursor, "MATCH", pattern, "COUNT", PIPELINE)
    [[after, keys]] = transport.round_trip(command)
    for key in keys:
        with suppress(UnicodeDecodeError):  # Our keys are UTF-8.
            found.append(key.decode().removeprefix(start))
    return str(int(after)), found
