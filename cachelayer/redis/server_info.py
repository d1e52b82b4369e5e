"""What the Redis server reports about itself: version, memory, eviction, clients."""

import time
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import RedisError

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import (
    cluster_transport,
    epoch,
    eviction,
    incarnation,
    keyspace,
    shards,
    topology,
    transport,
)
from cachelayer.redis.incarnation import Incarnation


@dataclass(frozen=True, slots=True)
class Server:
    """Sizes in bytes, times in seconds. ``memory_limit`` is 0 if there is none."""

    version: str
    role: str
    uptime: int
    keys: int
    clients: int
    memory_used: int
    memory_limit: int
    policy: str
    evicted: int
    expired: int
    #: The duration of one round trip from this process, including INFO.
    answered_in: float
    incarnation: Incarnation

    @property
    def memory_share(self) -> float | None:
        """The used share of the limit; None if there is no limit."""
        return self.memory_used / self.memory_limit if self.memory_limit else None


def ask() -> Server:
    """Ask Redis; on Redis Cluster, all primaries. Raises ``CacheUnavailable``."""
    if shards.are_used():
        return _ask_cluster()
    start = time.perf_counter()
    info, value, keys = transport.round_trip(
        ("INFO",), ("GET", keyspace.of(incarnation.KEY)), ("DBSIZE",)
    )
    took = time.perf_counter() - start
    memory = _memory(info)
    return _server(info, int(keys), memory, took, incarnation.parse(info, value, memory))


def _ask_cluster() -> Server:
    """The sum of the primaries; what cannot be summed up is that of the first."""
    start = time.perf_counter()
    servers: list[Server] = []
    try:
        for node in topology.primaries():
            info, keys = cluster_transport.ask_node(node, ("INFO",), ("DBSIZE",))
            name = incarnation.parse(info, None, eviction.said(info)).server
            own = Incarnation(name, name, "trusted", epoch.known())
            memory = eviction.said(info)
            servers.append(_server(info, int(keys), memory, 0.0, own))
    except (RedisError, OSError, *epoch.UNKNOWN) as error:
        raise CacheUnavailable(str(error)) from error
    if not servers:
        raise CacheUnavailable("No node of the Redis Cluster serves any slot.")
    sums = ("keys", "clients", "memory_used", "memory_limit", "evicted", "expired")
    return replace(
        servers[0],
        **{name: sum(getattr(each, name) for each in servers) for name in sums},
        role=f"cluster of {len(servers)} primaries",
        uptime=min(each.uptime for each in servers),
        answered_in=time.perf_counter() - start,
    )


def _server(
    info: Any, keys: int, memory: eviction.Memory, took: float, found: Incarnation
) -> Server:
    fields = dict(line.split(":", 1) for line in eviction.text(info).splitlines() if ":" in line)

    def number(name: str) -> int:
        return int(fields.get(name, 0))

    return Server(
        version=fields.get("valkey_version") or fields.get("redis_version", "?"),
        role=fields.get("role", "?"),
        uptime=number("uptime_in_seconds"),
        keys=keys,
        clients=number("connected_clients"),
        memory_used=number("used_memory"),
        memory_limit=int(memory.limit or 0),
        policy=memory.policy or "?",
        evicted=number("evicted_keys"),
        expired=number("expired_keys"),
        answered_in=took,
        incarnation=found,
    )


def _memory(info: Any) -> eviction.Memory:
    try:
        return eviction.memory(info, transport.round_trip)
    except CacheUnavailable:
        return eviction.said(info)
