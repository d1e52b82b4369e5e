"""Template filters that format times and shares on the cache page."""

import time
from datetime import UTC, datetime
from typing import Final

from django import template
from django.utils import timezone

register = template.Library()

_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))


@register.filter
def duration(seconds: float | None) -> str:
    """*seconds* in the unit that people would use."""
    if seconds is None:
        return ""
    for unit, length in _UNITS:
        if abs(seconds) >= length:
            rest = abs(seconds) / length
            return f"{'-' if seconds < 0 else ''}{rest:.3g} {unit}"
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s"


@register.filter
def ago(moment: float | str) -> str:
    """How long ago *moment* (Unix time or ISO 8601) was."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).timestamp()
    return f"{duration(max(0.0, time.time() - moment))} ago"


@register.filter
def clock(moment: float) -> str:
    """*moment* (Unix time) as the time of day in the current time zone."""
    return timezone.localtime(datetime.fromtimestamp(moment, UTC)).strftime("%H:%M:%S")


@register.filter
def share(part: float) -> str:
    """*part* of 1 in percent, with three significant digits."""
    return f"{part * 100:.3g} %"
