"""Each process looks for keys that were logged elsewhere, while it serves hits.

A process that Redis was cut off from writes without marks while others go on
trusting what they have. ``cache_repair`` repairs such keys at once; without it,
every process that serves hits does, within ``LOOK_INTERVAL``. It also notices a
Redis whose eviction policy was changed to one that takes marks.
"""

import logging

from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf, eviction, link, repair
from cachelayer.gate import CacheUnavailable, Mode, gate
from cachelayer.ticker import Ticker

logger = logging.getLogger("cachelayer.watch")


def look() -> bool:
    """Drain the repair log if anything is in it; never raises."""
    try:
        if gate.mode is Mode.CLOSED:
            [memory] = link.round_trip(("INFO", "memory"))
            if danger := eviction.memory(memory, link.round_trip).danger:
                gate.settle(danger)
            elif repair.has_backlog():
                repair.drain()
    except (DatabaseError, InterfaceError, CacheUnavailable) as error:
        logger.debug("Looked for keys to repair in vain: %s", error)
    finally:
        connections.close_all()
    return False


ticker = Ticker("cachelayer-watch", lambda: conf.get().LOOK_INTERVAL, look)
