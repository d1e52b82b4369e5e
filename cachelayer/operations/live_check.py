"""The live check compares a sample of the hits with Postgres, in the background.

So production can report "stale reads: 0 of N", with an upper bound for the share of stale hits. A
hit that differs from its row is not necessarily stale, because the row may have been written since.
Then the key has changed, too, because it is marked before the COMMIT that shows the new row. The
hit is stale only if the same bytes are still cached after Postgres has shown another row.
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

#: How many hits may wait for their check; no more are sampled.
QUEUE: Final = 5
#: Seconds between a hit and its check if nothing delays it. It is short, because staleness that
#: ends sooner is not found.
_INTERVAL: Final = 0.05
#: Seconds after a check without new samples. So a process makes at most five checks per second,
#: on one connection, which costs more than the checks.
REST: Final = 1.0
#: The ends of a 95 % interval of the normal distribution.
_Z: Final = 1.96

_Hit = tuple[Cached, Any, str, bytes]
_waiting: deque[_Hit] = deque(maxlen=QUEUE)
#: When sampling continues (monotonic seconds).
_rested = 0.0


def sample(cached: Cached, pk: Any, key: str, value: bytes) -> None:
    """Select a hit for a check at random. Costs one random number."""
    if random.random() >= conf.get().CHECK_SHARE or len(_waiting) >= QUEUE:
        return
    if time.monotonic() >= _rested:
        _waiting.append((cached, pk, key, value))
        task.wake()


def listen() -> None:
    """Sample the announced hits from now on."""
    events.value_answered.listen(sample)


def check_waiting() -> bool:
    """Check every waiting hit. Hits that cannot be checked are not counted. Never raises."""
    global _rested
    _rested = time.monotonic() + REST
    try:
        while _waiting:
            _count(*_waiting.popleft())
    except (DatabaseError, InterfaceError, CacheUnavailable) as error:
        # Later, these hits would be too old to prove anything.
        _waiting.clear()
        logger.debug("The live check could not compare: %s", error)
    except Exception:
        _waiting.clear()
        logger.exception("The live check failed.")
    finally:
        connections.close_all()
    return False


def _count(cached: Cached, pk: Any, key: str, value: bytes) -> None:
    row = _load(cached, pk)
    stale = row != value and key_states.get([key])[0] == value
    # Load again: between the two look-ups, a row without a timestamp may have changed and then
    # changed back.
    stale = stale and _load(cached, pk) == row
    events.hit_checked(stale)
    if stale:
        # Log ETags instead of rows, because rows may be confidential.
        logger.error("Stale read: %s gave %s, but Postgres has %s.", key, etag(value), etag(row))


def _load(cached: Cached, pk: Any) -> bytes:
    return read_rows(cached.database, cached, [pk])[pk]


task = BackgroundTask("cachelayer-livecheck", lambda: _INTERVAL, check_waiting)


def report(totals: Mapping[str, int] | None) -> dict[str, Any]:
    """The results of the live checks of all processes; None while Redis is away.

    ``upper_bound`` is the upper bound of the share of stale hits, with 95 % confidence; None before
    the first check.
    """
    if totals is None:
        return {"checked": None, "stale": None, "upper_bound": None}
    checked, stale = totals["checked"], totals["stale"]
    return {"checked": checked, "stale": stale, "upper_bound": upper_bound(stale, checked)}


def upper_bound(stale: int, checked: int) -> float | None:
    """The bound with 95 % confidence: the rule of three (Hanley 1983), or Wilson's interval."""
    if not checked:
        return None
    if not stale:
        return min(1.0, 3 / checked)
    share, z2 = stale / checked, _Z**2
    spread = _Z * math.sqrt(share * (1 - share) / checked + z2 / (4 * checked**2))
    return min(1.0, (share + z2 / (2 * checked) + spread) / (1 + z2 / checked))
