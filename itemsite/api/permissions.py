"""Who may write."""

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import IsAuthenticatedOrReadOnly
from rest_framework.request import Request

if TYPE_CHECKING:
    # REST framework's views import this module: it is the default permission.
    from rest_framework.views import APIView


class LoginToWrite(IsAuthenticatedOrReadOnly):
    """Everybody may read. Writing needs a login, except in the lab's open mode."""

    same_for_anonymous = True

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return (
            bool(settings.LAB)
            or super().has_permission(request, view)
            # No login makes it possible: it is a 405.
            or request.method not in view.allowed_methods
        )
