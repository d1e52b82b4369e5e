"""The nodes of a Redis Cluster from an event loop: a connection to each (``loop_transport.py``).

A loop follows no redirection. It notes where the slot is now, and refuses; a thread asks.
"""

import time
from functools import partial
from typing import Any

from redis.exceptions import MovedError, NoScriptError, RedisError

from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import (
    cluster_lines,
    cluster_transport,
    loop_transport,
    resp,
    scripts,
    topology,
)
from cachelayer.redis.cluster import Address
from cachelayer.redis.gate import Use
from cachelayer.redis.loop_transport import Line, NotConnected
from cachelayer.redis.scripts import Command
from cachelayer.redis.shard_gates import shard_gates


def enter(shard: int) -> None:
    """Raise what ``run`` raises without having asked Redis."""
    shard_gates.enter(shard, Use.READ)
    _line_to(_node(shard)).enter()


async def run(command: Command, behind: Command, shard: int) -> tuple[Any, float]:
    """The answers to *command*, over keys of *shard*, and *behind*; and the seconds that took.

    Raises ``CacheUnavailable``, and ``NotConnected`` where a thread would have to ask first.
    """
    shard_gates.enter(shard, Use.READ)
    # Only once: another thread may change the map while this one waits.
    node = _node(shard)
    line, started = _line_to(node), time.perf_counter()
    try:
        answer, *more = await line.ask(resp.pack(command, behind), 2)
        if isinstance(more[0], NoScriptError):
            more = await line.ask(resp.pack(scripts.with_text(behind)), 1)
    except (RedisError, OSError) as error:
        answer, more = error, []
    took = time.perf_counter() - started
    events.round_trip_ended(scripts.name(command), took)
    if isinstance(answer, MovedError):
        topology.moved(shard, (str(answer.host) or node[0], int(answer.port)))
        raise CacheUnavailable(str(answer))
    result = cluster_transport.result(node, shard, answer, Use.READ, *more)
    if isinstance(result, CacheUnavailable):
        raise result
    return result, took


def _node(shard: int) -> Address:
    """The primary of *shard*; raises ``NotConnected``."""
    if (node := topology.known(shard)) is None:
        raise NotConnected("This process does not know yet where its keys are.")
    return node


def _line_to(node: Address) -> Line:
    """This loop's line to *node*."""
    return loop_transport.line_to(
        node, partial(cluster_lines.connect, node), partial(_suspect, node)
    )


def _suspect(node: Address, error: Exception) -> None:
    shard_gates.suspect(topology.shards_of(node), error)
