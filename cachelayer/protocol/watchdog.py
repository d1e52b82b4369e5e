"""Each process looks for keys that were logged elsewhere, while it serves hits.

A process that Redis was cut off from writes without marks while others go on
trusting what they have. ``cache_repair`` repairs such keys at once; without it,
every process that serves hits does, within ``DRAIN_INTERVAL``. It also notices a Redis
that is not the one that was reconciled last, one whose eviction policy was changed to one that
takes marks, and a database whose triggers were taken away.
"""

import logging

from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf
from cachelayer.background_task import BackgroundTask
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import drain, reconcile, retire_variants
from cachelayer.redis import epoch, eviction, incarnation, keyspace, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.representation import tenancy
from cachelayer.tracking import repair_log

logger = logging.getLogger("cachelayer.watch")


def check() -> bool:
    """Drain the repair log if anything is in it; never raises."""
    try:
        if gate.mode is Mode.CLOSED:
            if reason := _distrust():
                gate.settle(reason)
            else:
                if repair_log.has_backlog():
                    drain.drain()
                tenancy.refresh()
                retire_variants.retire_unused()
    except (DatabaseError, InterfaceError, CacheUnavailable) as error:
        logger.debug("Looked for keys to repair in vain: %s", error)
    finally:
        connections.close_all()
    return False


def _distrust() -> str:
    """Why this Redis, or this database, is not what it was; "" when it is."""
    info, value = transport.round_trip(("INFO",), ("GET", keyspace.of(incarnation.KEY)))
    memory = eviction.memory(info, transport.round_trip)
    epoch.ask()
    reason = incarnation.parse(info, value, memory).distrust
    return reason or reconcile.missing_triggers()


task = BackgroundTask("cachelayer-watch", lambda: conf.get().DRAIN_INTERVAL, check)
