"""The way to a Redis Cluster: round trips through the gate of each shard, grouped by node.

A caller sends commands that each use the keys of one shard. Those for one node go out together, to
all nodes at once. If one node does not answer, the commands for the others are sent all the same: a
write that cannot mark its keys on one node must still mark those on the others, which are read as
before.

Redirections:

- MOVED: the slot has another primary. The command was not carried out, and is sent there once. The
  shard is not trusted there until a reconcile has made it so: every read and script finds that out.
- ASK, TRYAGAIN: the slot is moving, and its keys are on two nodes. No command follows them, because
  a mark on one of the two nodes could be missed by a reader of the other. ``revoke`` follows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import (
    AskError,
    MaxConnectionsError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from cachelayer import conf, timing
from cachelayer.exceptions import BrokenConnection, CacheUnavailable, OnTheMove
from cachelayer.redis import (
    cluster_lines,
    incarnation,
    keyspace,
    shards,
    topology,
)
from cachelayer.redis.cluster import Address
from cachelayer.redis.gate import Use
from cachelayer.redis.scripts import Command
from cachelayer.redis.shard_gates import shard_gates

#: Commands without keys that a caller may send; see ``_of_all``.
_OF_ALL: Final = ("PING", "DBSIZE")


def round_trip(
    *commands: Command,
    use: Use = Use.WRITE,
    resend: bool = True,
    partial: bool = False,
    behind: Command | None = None,
) -> list[Any]:
    """Send *commands*; return their results in order.

    Raises ``CacheUnavailable`` if one of them has no result, after all were sent. With *partial*,
    that ``CacheUnavailable`` is its result. *resend* as for ``transport.round_trip``.

    With *behind*, each node carries that out after its commands, and the result of each of them is
    a pair: its own, and that of *behind*.
    """
    if use is Use.READ and timing.redis_spent() > conf.get().REQUEST_BUDGET:
        raise CacheUnavailable("This request has used up its time for Redis.")
    results: list[Any] = [None] * len(commands)
    by_node: dict[Address, list[int]] = {}
    of: list[int] = [shards.COMMON] * len(commands)
    for i, command in enumerate(commands):
        if command[0] in _OF_ALL:
            results[i] = _of_all(command)
            continue
        of[i] = _shard_of(command)
        try:
            shard_gates.enter(of[i], use)
            by_node.setdefault(topology.address(of[i]), []).append(i)
        except CacheUnavailable as error:
            results[i] = error
        except (RedisError, OSError) as error:
            shard_gates.suspect([of[i]], error)
            results[i] = _unavailable(error)
    moved: dict[Address, list[int]] = {}
    followed = (behind,) if behind else ()
    for node, i, answer, *more in _ask(by_node, commands, followed, resend):
        if isinstance(answer, MovedError):
            there = (str(answer.host) or node[0], int(answer.port))
            topology.moved(of[i], there)
            moved.setdefault(there, []).append(i)
        else:
            results[i] = result(node, of[i], answer, use, *more)
    for node, i, answer, *more in _ask(moved, commands, followed, resend):
        results[i] = result(node, of[i], answer, use, *more)
    if not partial:
        for each in results:
            if isinstance(each, CacheUnavailable):
                raise each
    return results


def _ask(
    by_node: Mapping[Address, Sequence[int]],
    commands: Sequence[Command],
    followed: Sequence[Command],
    resend: bool,
) -> Iterator[tuple[Any, ...]]:
    """Of each command by its number: node, number, answer, and what the node answered behind it."""
    asked = {n: [*(commands[i] for i in which), *followed] for n, which in by_node.items()}
    for node, answers in cluster_lines.ask(asked, resend).items():
        which = by_node[node]
        own, behind = answers[: len(which)], answers[len(which) :]
        for i, answer in zip(which, own, strict=True):
            yield node, i, answer, *behind


def _shard_of(command: Command) -> int:
    return shards.of_stored(command[3] if command[0] in ("EVALSHA", "EVAL") else command[1])


def _of_all(command: Command) -> Any:
    """PING: the answer of the first node that answers. DBSIZE: the sum over all nodes."""
    try:
        nodes = topology.primaries()
    except (RedisError, OSError) as error:
        return _unavailable(error)
    found: list[Any] = []
    missed = CacheUnavailable("No node of the Redis Cluster serves any slot.")
    for node in nodes:
        try:
            found += ask_node(node, command)
        except CacheUnavailable as error:
            missed = error
            continue
        if command[0] == "PING":
            break
    is_enough = found and (command[0] == "PING" or len(found) == len(nodes))
    if not is_enough:
        return missed
    return found[0] if command[0] == "PING" else sum(map(int, found))


def step(cursor: str, command: Callable[[str], Command]) -> tuple[str, Any]:
    """One step of a walk over the nodes, one after another: the next cursor, and a node's answer.

    The cursor is that of a node, and which of the nodes it is; a walk begins and ends with "0".
    *command* is made from the node's own cursor, with which its answer begins. The answer is None
    if there are fewer nodes than before. Raises ``CacheUnavailable``.
    """
    own, _, number = cursor.partition("@")
    which = int(number or 0)
    try:
        nodes = topology.primaries()
    except (RedisError, OSError) as error:
        raise CacheUnavailable(str(error)) from error
    if which >= len(nodes):
        return "0", None
    [answer] = ask_node(nodes[which], command(own))
    after = str(int(answer[0]))
    if after == "0":
        which += 1
    return ("0" if which == len(nodes) else f"{after}@{which}"), answer


def ask_node(node: Address, *commands: Command) -> list[Any]:
    """The answers of *node* to commands without keys; raises ``CacheUnavailable``.

    The gates do not bar them: SCAN and INFO tell nothing that a read relies on.
    """
    answers = cluster_lines.ask({node: commands}, True)[node]
    for answer in answers:
        if isinstance(answer, Exception):
            raise _unavailable(answer)
    return answers


def result(node: Address, shard: int, answer: Any, use: Use, *behind: Any) -> Any:
    """What the caller gets of *answer*; notes what it says about the shard or the node."""
    if not isinstance(answer, Exception):
        try:
            # A new connection may have found that the node evicts marks.
            shard_gates.enter(shard, use)
        except CacheUnavailable as error:
            return error
        return (answer, *behind) if behind else answer
    if isinstance(answer, (AskError, TryAgainError)):  # A second MOVED, too.
        shard_gates.settle([shard], f"Slot {shards.slots()[shard]} is moving to another node.")
        return OnTheMove(str(answer))
    if isinstance(answer, (BrokenConnection, MaxConnectionsError)):
        return _unavailable(answer)
    if isinstance(answer, ResponseError):
        if "WRONGTYPE" not in str(answer):
            # A node that is full, or does not serve the slot, refuses this shard's marks, too.
            shard_gates.suspect([shard], answer)
        return _unavailable(answer)
    shard_gates.suspect([shard, *topology.shards_of(node)], answer)
    return _unavailable(answer)


def _unavailable(error: Exception) -> CacheUnavailable:
    if isinstance(error, CacheUnavailable):
        return error
    found = CacheUnavailable(str(error))
    found.__cause__ = error
    return found


def revoke(shard: int) -> None:
    """Take the trust in *shard* away, wherever its incarnation is. Never raises.

    For a writer that cannot mark, because the slot is moving: readers might still find the row on
    the node that the slot is leaving. Without this, the move could be called off, or go back, and
    the old row would be a hit until the log is drained.
    """
    with suppress(RedisError, OSError, CacheUnavailable, KeyError):
        key = keyspace.all_of([incarnation.KEY], shard)[0]
        node = topology.address(shard)
        for asking in (False, True, True):
            with topology.connection_to(node) as connection:
                before = [("ASKING",)] if asking else []
                answer = incarnation.ask(connection, *before, ("UNLINK", key))[-1]
            if not isinstance(answer, AskError):
                return
            node = (str(answer.host) or node[0], int(answer.port))


def open_node(shard: int, error: Exception) -> None:
    """A write to *shard* has no mark: open its gate, and all of its node if that is away."""
    which = [shard]
    if isinstance(error, BrokenConnection):
        with suppress(RedisError, OSError):
            which += topology.shards_of(topology.address(shard))
    shard_gates.open(which, error)
