"""The numbers of the page: one look at everything, shared by all who ask at about the same time."""

import threading
import time
from typing import Any, Final

from cachelayer import conf
from cachelayer.operations import stats
from cachelayer.telemetry import processes
from itemsite.console import lab_switches, links

#: Seconds for which one look serves. Half of the page's interval.
_FRESH: Final = 0.4

_lock = threading.Lock()
_taken: tuple[float, dict[str, Any]] = (0.0, {})


def snapshot(*, fresh: bool = False) -> dict[str, Any]:
    """What the page shows; nothing raises when Redis or Postgres is away.

    *fresh*: what is seen from now on, and not a moment ago.

    ``redis`` is whether it answers this process: ``ok`` or ``down``. ``redis_place`` is
    where it is, which says who can stop it.
    """
    global _taken
    with _lock:
        at, seen = _taken
        if fresh or time.monotonic() - at > _FRESH:
            seen = _look()
            _taken = (time.monotonic(), seen)
    return seen


def _look() -> dict[str, Any]:
    report = stats.collect()
    workers = processes.gates()
    return {
        **report,
        "postgres": "down" if report["repair"]["backlog"] is None else "ok",
        "gates": {"workers": len(workers.gates), "open": workers.passing_redis},
        "redis_place": lab_switches.redis_place(),
        "check_share": conf.get().CHECK_SHARE,
        "links": links.collect(),
    }
