"""Reconcile on Redis Cluster: the only way to close the gates of shards that are not closed.

The steps are those of ``reconcile.py``, for all such shards together. What fails for some of them
(their node is away, their slot is moving) leaves them for the next attempt. The others close.
"""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from django.db import DatabaseError, InterfaceError, connections, transaction
from redis.exceptions import RedisError

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import (
    drain_shards,
    key_states,
    partition,
    reconcile,
    scan,
    shard_states,
)
from cachelayer.protocol.shard_states import Seen
from cachelayer.protocol.signs_of_life import Signs, Watch
from cachelayer.redis import (
    cluster_transport,
    incarnation,
    scripts,
    shard_epochs,
    shards,
    topology,
    variants,
)
from cachelayer.redis.batches import batched
from cachelayer.redis.cluster import Address
from cachelayer.redis.gate import Mode, State, Use
from cachelayer.redis.shard_gates import ShardGates, shard_gates
from cachelayer.representation import registry
from cachelayer.throttled_log import ThrottledLog
from cachelayer.tracking import triggers

logger = logging.getLogger("cachelayer.reconcile")

_set = scripts.load("set_incarnation")
_LIKE_OTHERS: Final = "The node was not reconciled for other shards either."
_log = ThrottledLog(logger)
os.register_at_fork(after_in_child=_log.start_afresh)


def until_closed(held: ShardGates) -> None:
    """Reconcile repeatedly until every shard's gate is closed. Never raises."""
    memory = _Memory()
    while held.not_closed():
        started = time.monotonic()
        try:
            closed = _attempt(held, memory)
        except (RedisError, OSError, CacheUnavailable) as error:
            logger.info("The reconcile will be tried again: %s", error)
            closed = set()
        except (DatabaseError, InterfaceError) as error:
            logger.info("The reconcile waits for Postgres: %s", error)
            closed = set()
        except Exception:
            # This thread must not end: nobody else would close the gates.
            _log.say(logging.ERROR, "The reconcile failed. It will be tried again.", exc_info=True)
            closed = set()
        finally:
            for shard in held.not_closed():
                held.probed_at[shard] = started
            connections.close_all()
        if not closed:
            time.sleep(conf.get().PROBE_INTERVAL)


@dataclass(slots=True)
class _Memory:
    """What one attempt leaves for the next."""

    watches: dict[int, Watch] = field(default_factory=dict)
    #: By shard: the epoch that this process has taken, if that attempt came to no end.
    unfinished: dict[int, str] = field(default_factory=dict)
    was_blind: bool = False


def _attempt(held: ShardGates, memory: _Memory) -> set[int]:
    """Reconcile what can be; return the shards that are closed."""
    topology.refresh()
    shard_epochs.ask()
    wanted = shard_states.usable(held, sorted(held.not_closed()))
    if missing := reconcile.missing_triggers():
        memory.was_blind = True
        held.settle(wanted, missing)
        held.explain(wanted, missing)
        return set()
    known = shard_epochs.current()
    seen = shard_states.see(held, {*wanted, *_neighbours(wanted)})
    # What has happened to one shard of a node has mostly happened to all: they are reconciled
    # together, and not one after another as reads come upon them.
    seen = {
        shard: each
        for shard, each in seen.items()
        if shard in wanted or each.is_foreign or each.epoch != known.of_shard.get(shard)
    }
    held.settle(seen.keys() - set(wanted), _LIKE_OTHERS)
    mine: dict[int, str] = {}
    if begin := {
        shard
        for shard, each in seen.items()
        if memory.was_blind
        or each.is_foreign
        or each.epoch != known.of_shard.get(shard)
        or _is_abandoned(shard, each, memory)
    }:
        mine = _begin(held, begin, seen)
        memory.unfinished |= {s: incarnation.epoch_in(v.encode()) for s, v in mine.items()}
    memory.was_blind = False
    held.settle(seen, "Redis answers again.")
    trusted = {s for s, each in seen.items() if each.state == "trusted" and s not in begin}
    settled = {s: state for s, state in held.not_closed().items() if s in mine or s in trusted}
    settled = {s: state for s, state in settled.items() if state.mode is Mode.SETTLING}
    if not settled:
        return set()
    states = {s: _state_of(value) for s, value in mine.items() if s in settled}
    signs = Signs(states)
    reconcile.wait(lambda reason: held.explain(settled, reason), signs.give)
    failed = _sweep(held, states, signs)
    swept = {s: state for s, state in states.items() if s not in failed}
    drained = drain_shards.drain(swept, signs.step)
    ready = {s: state for s, state in settled.items() if s not in failed}
    ready = {s: state for s, state in ready.items() if drained.has_repaired(s)}
    return _close(held, ready, mine, seen)


def _neighbours(which: Iterable[int]) -> set[int]:
    """The other shards of the same nodes."""
    nodes = {topology.address(shard) for shard in which}
    return {shard for node in nodes for shard in topology.shards_of(node)}


def _close(
    held: ShardGates, ready: Mapping[int, State], mine: Mapping[int, str], seen: Mapping[int, Seen]
) -> set[int]:
    """Write ``trusted`` for what this process has reconciled, and close the gates."""
    # Before ``trusted`` is written: 1. A slot moves away while the sweep scans its node, and comes
    # back with an old row. 2. ``trusted`` is written. 3. Others hit the row.
    now = shard_states.see(held, ready)
    ready = {s: state for s, state in ready.items() if _is_same(now.get(s), seen[s])}
    own = {s: (value, incarnation.trusted(value)) for s, value in mine.items() if s in ready}
    lost = own.keys() - _write(own)
    ready = {s: state for s, state in ready.items() if s not in lost}
    again = shard_states.see(held, ready)
    shard_epochs.ask()
    ready = {
        s: state
        for s, state in ready.items()
        if _is_same(again.get(s), seen[s])
        and again[s].state == "trusted"
        and again[s].epoch == shard_epochs.known(s)
    }
    if not ready:
        return set()
    partition.trust.retire()
    closed = held.close(dict(ready))
    if closed and partition.is_on():
        partition.trust.lift()
    return closed


def _is_same(now: Seen | None, before: Seen) -> bool:
    """Whether the shard is on the same server, which has been given no slots since."""
    return now is not None and (now.server, now.term) == (before.server, before.term)


def _is_abandoned(shard: int, seen: Seen, memory: _Memory) -> bool:
    if seen.state != "settling":
        return False
    if memory.unfinished.get(shard) == seen.epoch:
        return True
    return memory.watches.setdefault(shard, Watch()).is_silent(seen.epoch, seen.sign)


def _begin(held: ShardGates, which: set[int], seen: Mapping[int, Seen]) -> dict[int, str]:
    """Take the next epoch for these shards and write ``settling`` with it; return what is written.

    Leaves out those that another process has taken meanwhile, and those that are moving.
    """
    with ExitStack() as stack:
        for using in sorted(registry.databases()):
            stack.enter_context(transaction.atomic(using=using))
            reconcile.lock(connections[using])
            if partition.is_on():
                partition.trust.declare(connections[using])
        known = shard_epochs.ask()
        again = shard_states.see(held, which)
        which = {
            shard
            for shard, each in again.items()
            if each.is_foreign
            or each.epoch != known.of_shard.get(shard)
            or each.value == seen[shard].value
        }
        if not which:
            return {}
        known = shard_epochs.advance(which)
        values = {
            s: incarnation.settling(again[s].server, known.of_shard[s])
            for s in which
            if s in known.of_shard
        }
        written = _write({s: ("", value) for s, value in values.items()})
    return {s: value for s, value in values.items() if s in written}


def _write(values: Mapping[int, tuple[str, str]]) -> set[int]:
    """Write an incarnation for each shard, if it has the first value ("" : any); return which."""
    which = [*values]
    commands = [
        _set([reconcile.PROBE, variants.KEY, incarnation.KEY], *values[shard], shard=shard)
        for shard in which
    ]
    if not commands:
        return set()
    # A gate that is open would bar this, too. The node has just been probed.
    shard_gates.settle(which, "Redis answers again.")
    answers = cluster_transport.round_trip(*commands, use=Use.WRITE, partial=True)
    return {shard for shard, answer in zip(which, answers, strict=True) if answer == 1}


def _state_of(value: str) -> str:
    """``settling 7``, of an incarnation."""
    return value.partition(" ")[2]


def _sweep(held: ShardGates, states: Mapping[int, str], signs: Signs) -> set[int]:
    """Repair every key of the shards *states*; return those that could not be swept."""
    prefixes = {cached.prefix for cached in registry.every()}
    for using in registry.databases():
        prefixes |= triggers.prefixes(connections[using])
    failed: set[int] = set()
    nodes: dict[Address, set[int]] = {}
    for shard in states:
        nodes.setdefault(topology.address(shard), set()).add(shard)
    for node, of_node in nodes.items():
        try:
            found = scan.of_node(node, sorted(prefixes), by=signs.step)
            for keys in batched(key for key in found if shards.of(key) in of_node):
                signs.give()
                failed |= set(map(shards.of, key_states.repair_shards(keys, states)))
        except CacheUnavailable as error:
            held.open(of_node, error)
            failed |= of_node
    return failed


def probe_if_late(which: Iterable[int]) -> None:
    """As ``reconcile.probe_if_late``, for the shards that a write is about to mark."""
    now = time.monotonic()
    late = [
        shard
        for shard in which
        if shard_gates.state(shard).mode is Mode.OPEN
        and now - shard_gates.probed_at[shard] > conf.get().SETTLING_TIME / 2
    ]
    if not late:
        return
    with suppress(RedisError, OSError):
        topology.refresh()
    usable = shard_states.usable(shard_gates, late)
    shard_gates.settle(usable, "Redis answers again.")
    for shard in late:
        shard_gates.probed_at[shard] = now


shard_gates.reconcile = until_closed
