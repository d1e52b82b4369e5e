"""The live check: a sampled share of the hits is compared with Postgres, in the background.

So production can say "stale reads: 0 of N", with a bound on what N cannot have
shown. A hit that differs from its row is not stale yet: the row may have been
written since. Then the key has changed as well, for a mark goes on before the
COMMIT that shows the new row. Only where the same bytes are still there, after
Postgres has shown another row, could a read have got them too late.
"""

import logging
import math
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf, events
from cachelayer.background_task import BackgroundTask
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_states
from cachelayer.representation.etags import etag
from cachelayer.representation.loading import read_rows
from cachelayer.representation.registry import Cached

logger = logging.getLogger("cachelayer.livecheck")

#: Hits that wait to be checked; more are not sampled.
QUEUE: Final = 5
#: Seconds between a hit and its check, while nothing is in the way. Short: what is stale
#: for a shorter time is not found.
_INTERVAL: Final = 0.05
#: Seconds after a check in which no hit is sampled. So a process makes at most five checks a
#: second, on one connection, which costs more than they do.
REST: Final = 1.0
#: Of the normal distribution: the ends of a 95 % interval.
_Z: Final = 1.96

_Hit = tuple[Cached, Any, str, bytes]
_waiting: deque[_Hit] = deque(maxlen=QUEUE)
#: When the rest is over (monotonic seconds).
_rested = 0.0


def sample(cached: Cached, pk: Any, key: str, value: bytes) -> None:
    """Note a hit for a check if chance says so. Costs a random number."""
    if random.random() >= conf.get().CHECK_SHARE or len(_waiting) >= QUEUE:
        return
    if time.monotonic() >= _rested:
        _waiting.append((cached, pk, key, value))
        task.wake()


def listen() -> None:
    """Sample the hits that are announced from now on."""
    events.value_answered.listen(sample)


def check_waiting() -> bool:
    """Check every hit that waits; never raises. What cannot be checked is not counted."""
    global _rested
    _rested = time.monotonic() + REST
    try:
        while _waiting:
            _count(*_waiting.popleft())
    except (DatabaseError, InterfaceError, CacheUnavailable) as error:
        # Later, these hits would be too old to say anything.
        _waiting.clear()
        logger.debug("Live check in vain: %s", error)
    except Exception:
        _waiting.clear()
        logger.exception("The live check failed.")
    finally:
        connections.close_all()
    return False


def _count(cached: Cached, pk: Any, key: str, value: bytes) -> None:
    row = _load(cached, pk)
    stale = row != value and key_states.get([key])[0] == value
    # Loaded again: a row without a timestamp may have become another and then
    # the same again between the two looks.
    stale = stale and _load(cached, pk) == row
    events.hit_checked(stale)
    if stale:
        # Not the rows themselves: a log is no place for them.
        logger.error("Stale read: %s gave %s, Postgres has %s.", key, etag(value), etag(row))


def _load(cached: Cached, pk: Any) -> bytes:
    return read_rows(cached.database, cached, [pk])[pk]


task = BackgroundTask("cachelayer-livecheck", lambda: _INTERVAL, check_waiting)


def report(totals: Mapping[str, int] | None) -> dict[str, Any]:
    """What the live checks of all processes have found; None while Redis is away.

    ``upper_bound`` is the share of stale hits that is not exceeded, with 95 %
    confidence; None before the first check.
    """
    if totals is None:
        return {"checked": None, "stale": None, "upper_bound": None}
    checked, stale = totals["checked"], totals["stale"]
    return {"checked": checked, "stale": stale, "upper_bound": upper_bound(stale, checked)}


def upper_bound(stale: int, checked: int) -> float | None:
    """With 95 % confidence: the rule of three (Hanley 1983), or the end of Wilson's interval."""
    if not checked:
        return None
    if not stale:
        return min(1.0, 3 / checked)
    share, z2 = stale / checked, _Z**2
    spread = _Z * math.sqrt(share * (1 - share) / checked + z2 / (4 * checked**2))
    return min(1.0, (share + z2 / (2 * checked) + spread) / (1 + z2 / checked))
