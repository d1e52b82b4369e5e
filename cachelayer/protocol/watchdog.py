"""While a process serves hits, it checks for keys that other processes have logged.

A process that is cut off from Redis writes without marks, while others still trust their Redis.
``cache_repair`` repairs the logged keys at once. Without it, every process that serves hits repairs
them within ``DRAIN_INTERVAL``. The watchdog also notices a Redis that was not reconciled, an
eviction policy that could evict marks, and a database that has lost its triggers.
"""

import logging

from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf
from cachelayer.background_task import BackgroundTask
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import drain, reconcile, retire_variants, shard_states
from cachelayer.redis import (
    epoch,
    eviction,
    incarnation,
    keyspace,
    shard_epochs,
    shards,
    transport,
)
from cachelayer.redis.gate import Mode, gate
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.representation import tenancy
from cachelayer.tracking import repair_log

logger = logging.getLogger("cachelayer.watch")


def check() -> bool:
    """Drain the repair log unless it is empty; never raises."""
    try:
        if shards.are_used():
            _check_shards()
        elif gate.mode is Mode.CLOSED:
            if reason := _distrust():
                gate.settle(reason)
            else:
                if repair_log.has_backlog():
                    drain.drain()
                tenancy.refresh()
                retire_variants.retire_unused()
    except (DatabaseError, InterfaceError, CacheUnavailable) as error:
        logger.debug("Could not check for keys to repair: %s", error)
    finally:
        connections.close_all()
    return False


def _check_shards() -> None:
    """As for one Redis. Every read on Redis Cluster verifies its node itself."""
    shard_epochs.ask()
    if reason := reconcile.missing_triggers():
        shard_gates.settle(range(shards.COUNT), reason)
        return
    shard_states.settle_evicting()
    if repair_log.has_backlog():
        drain.drain()
    tenancy.refresh()
    retire_variants.retire_unused()


def _distrust() -> str:
    """Why this Redis or this database cannot be trusted any more; "" if it can."""
    info, value = transport.round_trip(("INFO",), ("GET", keyspace.of(incarnation.KEY)))
    memory = eviction.memory(info, transport.round_trip)
    epoch.ask()
    reason = incarnation.parse(info, value, memory).distrust
    return reason or reconcile.missing_triggers()


task = BackgroundTask("cachelayer-watch", lambda: conf.get().DRAIN_INTERVAL, check)
