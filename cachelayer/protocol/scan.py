"""Finds the cached keys by SCAN."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from cachelayer.redis import cluster_transport, keyspace, shards, transport
from cachelayer.redis.batches import PIPELINE
from cachelayer.redis.cluster import Address
from cachelayer.redis.scripts import Command
from cachelayer.representation import registry, tenancy

#: The cursor at the beginning and at the end of a scan.
START: Final = "0"


#: The next cursor, and keys.
Found = tuple[str, list[str]]
#: One step of a scan.
Step = Callable[[str], Found]
#: Calls a step; it may repeat it, because Redis keeps no state between steps.
By = Callable[[Step, str], Found]


def once(step: Step, cursor: str) -> Found:
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
                yield from _walk(_of_tenants(prefix), by)
    for prefix in prefixes:
        yield from _walk(_pattern(prefix), by)


def variant_keys(variant: str) -> Iterator[str]:
    """The keys of one *variant*; see ``variants.py``."""
    return _walk(keyspace.pattern(variant, ":"))


def scan(prefix: str, cursor: str) -> Found:
    """One step of a scan over the keys of *prefix*: the next cursor, and keys.

    A scan begins with the cursor ``START``, and is complete when that cursor comes back. Redis
    keeps no state between steps, so another process may continue. Raises ``CacheUnavailable``.
    """
    return _scan(_pattern(prefix), cursor)


def _pattern(prefix: str) -> str:
    return keyspace.pattern(prefix, "[:~]")


def _of_tenants(prefix: str) -> str:
    return keyspace.pattern("", f"*/{prefix}[:~]")


def _walk(pattern: str, by: By = once) -> Iterator[str]:
    return _steps(partial(_scan, pattern), by)


def _steps(step: Step, by: By) -> Iterator[str]:
    cursor = START
    while True:
        cursor, found = by(step, cursor)
        yield from found
        if cursor == START:
            break


def of_node(node: Address, prefixes: Sequence[str], *, by: By = once) -> Iterator[str]:
    """On Redis Cluster, the keys of *prefixes* that *node* holds, of all tenants."""
    patterns = [_pattern(prefix) for prefix in prefixes]
    if any(map(tenancy.may_be, registry.databases())):
        patterns += [_of_tenants(prefix) for prefix in prefixes]
    for pattern in patterns:
        yield from _steps(partial(_scan_node, node, pattern), by)


def _scan_node(node: Address, pattern: str, cursor: str) -> Found:
    [answer] = cluster_transport.ask_node(node, _command(pattern, cursor))
    return _parse(answer)


def _scan(pattern: str, cursor: str) -> Found:
    if shards.are_used():
        after, answer = cluster_transport.step(cursor, partial(_command, pattern))
        return after, _parse(answer)[1] if answer else []
    [answer] = transport.round_trip(_command(pattern, cursor))
    return _parse(answer)


def _command(pattern: str, cursor: str) -> Command:
    return ("SCAN", cursor, "MATCH", pattern, "COUNT", PIPELINE)


def _parse(answer: Any) -> Found:
    after, keys = answer
    found: list[str] = []
    for key in keys:
        # Our keys are UTF-8, and on Redis Cluster they have a shard's tag.
        with suppress(UnicodeDecodeError, ValueError):
            found.append(keyspace.without_start(key.decode()))
    return str(int(after)), found
