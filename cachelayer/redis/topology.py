"""Which node of a Redis Cluster is the primary of each shard, as this process knows it.

No promise depends on it: a node that is not the primary of a slot answers with a redirection, and
one that wrongly believes to be it is found by its incarnation and its epoch.
"""

import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from cachelayer import conf
from cachelayer.redis import cluster, incarnation, resp, shards
from cachelayer.redis.cluster import Address

_NOBODY: Final[Sequence[Address | None]] = (None,) * shards.COUNT


class _Map:
    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        self.lock = threading.Lock()
        self.addresses: list[Address | None] = [*_NOBODY]
        self.is_read = False
        #: Why nobody answered, and when (monotonic seconds).
        self.refused, self.refused_at = "", 0.0


_map = _Map()


def address(shard: int) -> Address:
    """The primary of *shard*; the first call asks. Raises ``RedisError``."""
    _read_first()
    found = _map.addresses[shard]
    if found is None:
        raise RedisConnectionError(
            f"No node of the Redis Cluster serves slot {shards.slots()[shard]}."
        )
    return found


def known(shard: int) -> Address | None:
    """The primary of *shard*, as this process knows it; asks nobody."""
    return _map.addresses[shard]


def primaries() -> list[Address]:
    """The nodes that are the primary of a shard; the first call asks. Raises ``RedisError``."""
    _read_first()
    return sorted({each for each in _map.addresses if each})


def shards_of(node: Address) -> list[int]:
    """The shards of which *node* is the primary, as far as this process knows."""
    return [shard for shard, each in enumerate(_map.addresses) if each == node]


def moved(shard: int, node: Address) -> None:
    """A node has said that *node* is the primary of *shard*."""
    _map.addresses[shard] = node


def _read_first() -> None:
    """Ask if nobody has; but not each time of nodes that swallow packets. Raises ``RedisError``.

    Else a write to many shards would wait for all of them once for each shard.
    """
    if _map.is_read:
        return
    with _map.lock:
        if _map.is_read:
            return
        if _map.refused and time.monotonic() - _map.refused_at < conf.get().PROBE_INTERVAL:
            raise RedisConnectionError(_map.refused)
        _read()


def refresh() -> None:
    """Ask a node for the primaries. Raises ``RedisError`` if none answers.

    The nodes are asked in random order, so that one that is cut off from the others, and does not
    know it, is not believed for long.
    """
    with _map.lock:
        _read()


def _read() -> None:
    known: set[Address] = {each for each in _map.addresses if each}
    known |= {cluster.address_of(seed) for seed in cluster.seeds()}
    refused: Exception = RedisConnectionError("CACHES names no node of the Redis Cluster.")
    for node in random.sample(sorted(known), len(known)):
        try:
            with connection_to(node) as connection:
                [answer] = incarnation.ask(connection, ("CLUSTER", "SLOTS"))
            if isinstance(answer, Exception):
                raise answer
            addresses = _parse(answer, node)
            if addresses == [*_NOBODY]:
                # It has lost its configuration, and is about to join again. If it were believed,
                # this process would write without marks to nodes that others read.
                raise RedisConnectionError(f"{node[0]}:{node[1]} knows no slots.")
        except (RedisError, OSError) as error:
            refused = error
        else:
            _map.addresses, _map.is_read, _map.refused = addresses, True, ""
            return
    _map.refused, _map.refused_at = str(refused), time.monotonic()
    raise refused


def _parse(answer: Any, asked: Address) -> list[Address | None]:
    """The primary of each shard, from the answer of *asked* to CLUSTER SLOTS."""
    found: list[Address | None] = [*_NOBODY]
    by_slot = {slot: shard for shard, slot in enumerate(shards.slots())}
    for first, last, (host, port, *_), *_ in answer:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        # An empty name is that of the node that was asked.
        node = (name or asked[0], int(port))
        for slot, shard in by_slot.items():
            if first <= slot <= last:
                found[shard] = node
    return found


@contextmanager
def connection_to(node: Address) -> Iterator[Any]:
    """A new connection to *node*, which no gate guards. Raises ``RedisError``."""
    connection = cluster.connection_to(node)
    try:
        resp.connect(connection)
        yield connection
    finally:
        with suppress(RedisError, OSError):
            connection.disconnect()


def forget() -> None:
    """Forget the primaries, as in a new process."""
    _map.start_afresh()


os.register_at_fork(after_in_child=forget)
