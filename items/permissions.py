"""Who may write."""

from django.conf import settings
from rest_framework.permissions import IsAuthenticatedOrReadOnly
from rest_framework.request import Request
from rest_framework.views import APIView


class LoginToWrite(IsAuthenticatedOrReadOnly):
    """Everybody may read. Writing needs a login, except in the lab's open mode."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(settings.LAB) or super().has_permission(request, view)
