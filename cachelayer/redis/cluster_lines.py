"""This process's connections to the nodes of a Redis Cluster, and what is asked over them.

``cluster_transport.py`` says which node is asked what.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cachelayer import events, timing
from cachelayer.exceptions import BrokenConnection, CacheUnavailable
from cachelayer.redis import cluster, eviction, incarnation, resp, scripts, topology
from cachelayer.redis.cluster import Address
from cachelayer.redis.resp import Lines, Question
from cachelayer.redis.scripts import Command
from cachelayer.redis.shard_gates import shard_gates

_lock = threading.Lock()
_lines: dict[Address, Lines] = {}


def ask(commands_of: Mapping[Address, Sequence[Command]], resend: bool) -> dict[Address, list[Any]]:
    """The answers of each node; an error, also of the connection, is an answer.

    All nodes are asked before the first answer is awaited. *resend* as for
    ``transport.round_trip``.
    """
    start = time.perf_counter()
    sent: dict[Address, Question | Exception] = {}
    answers: dict[Address, list[Any]] = {}
    try:
        for node, commands in commands_of.items():
            sent[node] = _send(node, commands)
        for node, commands in commands_of.items():
            answers[node] = _answers(node, commands, sent[node], resend)
            events.round_trip_ended(scripts.name(commands[0]), time.perf_counter() - start)
        return answers
    finally:
        for question in sent.values():
            if isinstance(question, Question):
                question.close()
        timing.add_redis(time.perf_counter() - start)


def _send(node: Address, commands: Sequence[Command]) -> Question | Exception:
    """Ask *node*; or why that cannot be."""
    try:
        return _lines_to(node).send(resp.pack(*commands), len(commands))
    except (RedisError, OSError, CacheUnavailable) as error:
        return error


def _answers(
    node: Address, commands: Sequence[Command], sent: Question | Exception, resend: bool
) -> list[Any]:
    try:
        answers = _reconnecting(node, commands, sent, resend)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            texts = [scripts.with_text(commands[i]) for i in unknown]
            again = _reconnecting(node, texts, _send(node, texts), resend)
            for i, answer in zip(unknown, again, strict=True):
                answers[i] = answer
        return answers
    except (RedisError, OSError, CacheUnavailable) as error:
        return [error] * len(commands)


def _reconnecting(
    node: Address, commands: Sequence[Command], sent: Question | Exception, resend: bool
) -> list[Any]:
    try:
        if isinstance(sent, Exception):
            raise sent
        return sent.answers()
    except MaxConnectionsError:
        raise
    except (RedisConnectionError, RedisTimeoutError) as error:
        _lines_to(node).forget()
        if not resend:
            raise BrokenConnection(str(error)) from error
        if isinstance(error, RedisTimeoutError):
            raise  # A reader does not wait for a second connection.
        return _lines_to(node).ask(resp.pack(*commands), len(commands))


def _lines_to(node: Address) -> Lines:
    found = _lines.get(node)
    if found is None:
        with _lock:
            found = _lines.setdefault(node, Lines(lambda: _new(node), cluster.most_connections))
    return found


def connect(node: Address) -> Any:
    """A new connection to *node*, connected and verified, for an event loop."""
    connection = _new(node)
    resp.connect(connection)
    return connection


def _new(node: Address) -> Any:
    return cluster.connection_to(node, redis_connect_func=lambda made: _verify(node, made))


def _verify(node: Address, connection: Any) -> None:
    """Before a connection's first command: does this node spare marks?

    Which data it has, every read and every script finds out.
    """
    connection.on_connect()
    [info] = incarnation.ask(connection, ("INFO",))
    if isinstance(info, Exception):
        raise info
    danger = eviction.memory(info, lambda *asked: incarnation.ask(connection, *asked)).danger
    if danger:
        shard_gates.settle(topology.shards_of(node), danger)


def forget_connections() -> None:
    """Close the idle connections, and forget the nodes."""
    topology.forget()
    for lines in [*_lines.values()]:
        lines.forget()


def _start_afresh() -> None:
    global _lock
    _lock = threading.Lock()
    for lines in _lines.values():
        lines.start_afresh()


os.register_at_fork(after_in_child=_start_afresh)
