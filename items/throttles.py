"""The rate limit of writes."""

import re
import time
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import transport

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def write_rate() -> tuple[int, int] | None:
    """Writes and the seconds in which so many are allowed; None: any number.

    From ``DEFAULT_THROTTLE_RATES["write"]``, such as ``100/min``; raises
    ``ImproperlyConfigured``.
    """
    rate = api_settings.DEFAULT_THROTTLE_RATES.get("write")
    if not rate:
        return None
    match = re.fullmatch(r"([1-9]\d*)/(s|sec|m|min|h|hour|d|day)", str(rate))
    if match is None:
        raise ImproperlyConfigured(
            f"The rate limit of writes is {rate!r}. Set WRITE_RATE to a number per second, "
            "minute, hour or day, such as 100/min, or to nothing for no limit."
        )
    return int(match[1]), _SECONDS[match[2][0]]


class WriteThrottle(BaseThrottle):
    """So many writes per window, by user (in the lab: by address), over all processes.

    Counted in Redis in one round trip; while Redis is away there is no limit.
    """

    same_for_anonymous = True
    _wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        rate = write_rate()
        if rate is None or request.method in SAFE_METHODS:
            return True
        allowed, seconds = rate
        now = time.time()
        self._wait = seconds - now % seconds
        key = f"throttle:write:{self._who(request)}:{int(now // seconds)}"
        try:
            _, count = transport.round_trip(("SET", key, 0, "EX", seconds, "NX"), ("INCR", key))
        except CacheUnavailable:
            return True
        return int(count) <= allowed

    def wait(self) -> float | None:
        """Seconds until the next window begins."""
        return self._wait

    def _who(self, request: Request) -> str:
        # Asking for the user would make a browser's writes in the lab need a CSRF token.
        if settings.LAB:
            return f"address-{self.get_ident(request)}"
        return f"user-{request.user.pk}"
