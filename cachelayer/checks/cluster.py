"""Whether a Redis Cluster is what the settings say, and goes on while one of its nodes is away."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from redis.exceptions import RedisError, ResponseError

from cachelayer.redis import cluster, eviction, incarnation, shards, topology

_FACTORY = f"{cluster.__name__}.{cluster.ClusterConnectionFactory.__name__}"


def undeclared(connection: Any) -> Iterator[CheckMessage]:
    """For one Redis: that it is no node of a cluster."""
    if _is_node(connection):
        yield Error(
            "This Redis is a node of a Redis Cluster, but CACHES does not say so. A script that "
            "uses keys of several slots is refused (CROSSSLOT), so nothing is ever cached.",
            hint=f'Set "CONNECTION_FACTORY": "{_FACTORY}" in OPTIONS of CACHES.',
            id="cachelayer.E027",
        )


def primaries() -> tuple[list[cluster.Address], list[CheckMessage]]:
    """The primaries of the cluster, and why there are none. Raises ``RedisError``."""
    [seed, *_] = cluster.seeds()
    try:
        topology.refresh()
    except ResponseError as error:
        if "cluster support disabled" not in str(error):
            raise
        return [], [_no_cluster(seed)]
    return topology.primaries(), []


def _no_cluster(seed: Any) -> CheckMessage:
    host, port = cluster.address_of(seed)
    return Error(
        f"CACHES uses {_FACTORY}, but the Redis at {host}:{port} is no node of a cluster. The "
        "cache never uses it.",
        hint="Remove CONNECTION_FACTORY from OPTIONS of CACHES, or set cluster-enabled yes.",
        id="cachelayer.E028",
    )


def unserved() -> Iterator[CheckMessage]:
    """Slots without a primary."""
    missing = shards.COUNT - sum(len(topology.shards_of(node)) for node in topology.primaries())
    if missing:
        yield Warning(
            f"{missing} of the {shards.COUNT} shards of the cache have no primary in this Redis "
            "Cluster. Their rows come from Postgres.",
            hint="Give every slot to a node: redis-cli --cluster fix.",
            id="cachelayer.W006",
        )


def needs_full_coverage(node: cluster.Address, connection: Any) -> Iterator[CheckMessage]:
    """That the other nodes go on when one is away."""
    name = "cluster-require-full-coverage"
    [answer] = incarnation.ask(connection, ("CONFIG", "GET", name))
    if eviction.value(answer) == "yes":
        host, port = node
        yield Warning(
            f"{name} is yes on {host}:{port}: when one node of the cluster is away and has no "
            "replica, all others refuse every command, and the whole cache is bypassed.",
            hint=f"CONFIG SET {name} no on every node, and the same in redis.conf.",
            id="cachelayer.W007",
        )


def _is_node(connection: Any) -> bool:
    try:
        [info] = incarnation.ask(connection, ("INFO", "cluster"))
    except RedisError:
        return False
    return eviction.field(info, "cluster_enabled") == "1"
