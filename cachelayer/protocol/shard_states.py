"""What the nodes of a Redis Cluster say of themselves and of each shard, for the reconcile."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import reconcile, signs_of_life
from cachelayer.redis import (
    cluster_transport,
    eviction,
    incarnation,
    scripts,
    shards,
    topology,
    variants,
)
from cachelayer.redis.cluster import Address
from cachelayer.redis.gate import Mode
from cachelayer.redis.shard_gates import ShardGates, shard_gates

_look = scripts.load("look", "own_incarnation")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the primary of a shard says of it."""

    #: This node, as its incarnations name it.
    server: str
    #: The incarnation if it is the node's own, and its parts.
    value: str
    state: str
    epoch: str
    #: The last sign of life from the process that reconciles it.
    sign: bytes | None
    #: Which configuration of the cluster gave the node its slots.
    term: str

    @property
    def is_foreign(self) -> bool:
        return not self.value


def usable(held: ShardGates, which: Iterable[int]) -> list[int]:
    """Those of the shards whose node answers, takes writes and spares marks.

    Opens the gates of the others if their node does not.
    """
    by_node: dict[Address, list[int]] = {}
    for shard in which:
        try:
            by_node.setdefault(topology.address(shard), []).append(shard)
        except (RedisError, OSError) as error:
            held.open([shard], error)
    usable: list[int] = []
    for node, of_node in by_node.items():
        try:
            with topology.connection_to(node) as connection:
                danger = _danger(connection)
        except (RedisError, OSError) as error:
            held.open(of_node, error)
            continue
        if danger:
            held.settle(of_node, danger)
            held.explain(of_node, danger)
        else:
            usable += of_node
    return usable


def settle_evicting() -> None:
    """Settle the shards of every node that may evict marks. Raises ``CacheUnavailable``."""
    try:
        for node in topology.primaries():
            of_node = [s for s in topology.shards_of(node) if _is_closed(s)]
            if of_node:
                [info] = cluster_transport.ask_node(node, ("INFO",))

                def ask(*commands: Any, node: Address = node) -> list[Any]:
                    return cluster_transport.ask_node(node, *commands)

                if danger := eviction.memory(info, ask).danger:
                    shard_gates.settle(of_node, danger)
    except (RedisError, OSError) as error:
        raise CacheUnavailable(str(error)) from error


def _is_closed(shard: int) -> bool:
    return shard_gates.state(shard).mode is Mode.CLOSED


def _danger(connection: Any) -> str:
    [info] = incarnation.ask(connection, ("INFO",))
    if isinstance(info, Exception):
        raise info
    return eviction.memory(info, lambda *asked: incarnation.ask(connection, *asked)).danger


def see(held: ShardGates, which: Iterable[int]) -> dict[int, Seen]:
    """What the primaries say of these shards; without those that refuse or are moving."""
    by_node: dict[Address, list[int]] = {}
    for shard in which:
        by_node.setdefault(topology.address(shard), []).append(shard)
    found: dict[int, Seen] = {}
    for node, of_node in by_node.items():
        for shard, answer in zip(of_node, _ask(node, of_node), strict=True):
            if isinstance(answer, ResponseError):
                _refused(held, shard, answer)
            else:
                server, (own, sign), term = answer
                value = own.decode()
                _, state, own_epoch = value.split(" ") if value else ("", "", "")
                found[shard] = Seen(server, value, state, own_epoch, sign, term)
    return found


def _refused(held: ShardGates, shard: int, error: ResponseError) -> None:
    if "MOVED" in str(error) or "ASK" in str(error) or "TRYAGAIN" in str(error):
        reason = f"Slot {shards.slots()[shard]} is moving to another node."
        held.settle([shard], reason)
        held.explain([shard], reason)
    else:
        held.open([shard], error)


def _ask(node: Address, of_node: list[int]) -> list[Any]:
    """The answer of *node* for each shard, or a ``ResponseError``; raises ``RedisError``."""
    with topology.connection_to(node) as connection:
        info, cluster_info = incarnation.ask(connection, ("INFO",), ("CLUSTER", "INFO"))
        server = f"{eviction.field(info, 'run_id')}:{eviction.field(info, 'master_replid')}"
        if eviction.field(info, "role") != "master":
            return [ResponseError("MOVED: this node has become a replica")] * len(of_node)
        term = eviction.field(cluster_info, "cluster_my_epoch") or ""
        commands = [
            _look([reconcile.PROBE, signs_of_life.KEY, variants.KEY, incarnation.KEY], shard=shard)
            for shard in of_node
        ]
        answers = incarnation.ask(connection, *map(scripts.with_text, commands))
    return [
        answer if isinstance(answer, Exception) else (server, answer, term) for answer in answers
    ]
