"""The rate limit of writes."""

from typing import Any

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle


class WriteThrottle(ScopedRateThrottle):
    """Limits the writes of views with a ``throttle_scope``: by user, in the lab by address.

    Counted in the cache, over all processes. While Redis is away there is no limit.
    """

    same_for_anonymous = True

    def allow_request(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or super().allow_request(request, view)

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        # Asking for the user would make a browser's writes in the lab need a CSRF token.
        if settings.LAB:
            return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}
        return super().get_cache_key(request, view)
