"""What the Redis server reports about itself: version, memory, eviction, clients."""

import time
from dataclasses import dataclass
from typing import Any

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import eviction, incarnation, keyspace, transport
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
    """Ask Redis; raises ``CacheUnavailable``."""
    start = time.perf_counter()
    info, value, keys = transport.round_trip(
        ("INFO",), ("GET", keyspace.of(incarnation.KEY)), ("DBSIZE",)
    )
    took = time.perf_counter() - start
    memory = _memory(info)
    fields = dict(line.split(":", 1) for line in eviction.text(info).splitlines() if ":" in line)

    def number(name: str) -> int:
        return int(fields.get(name, 0))

    return Server(
        version=fields.get("valkey_version") or fields.get("redis_version", "?"),
        role=fields.get("role", "?"),
        uptime=number("uptime_in_seconds"),
        keys=int(keys),
        clients=number("connected_clients"),
        memory_used=number("used_memory"),
        memory_limit=int(memory.limit or 0),
        policy=memory.policy or "?",
        evicted=number("evicted_keys"),
        expired=number("expired_keys"),
        answered_in=took,
        incarnation=incarnation.parse(info, value, memory),
    )


def _memory(info: Any) -> eviction.Memory:
    try:
        return eviction.memory(info, transport.round_trip)
    except CacheUnavailable:
        return eviction.said(info)
