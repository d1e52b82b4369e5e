"""``/cache/stats`` and ``/cache/clear``."""

from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import clear, stats


class CacheAway(APIException):
    """503: the operation needs Redis."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("Redis does not answer. Try again when /health says that it is ok.")
    default_code = "cache_unavailable"
    #: Seconds. REST framework sends them as ``Retry-After``.
    wait = 1


class StatsView(APIView):
    """GET: the statistics."""

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: the user is looked up only when a permission asks.

        So a logged-in user can read the statistics without Postgres, where the session is.
        """

    def get(self, request: Request) -> Response:
        return Response(stats.collect(), headers={"Cache-Control": "no-store"})


class ClearView(APIView):
    """POST: delete every cached row."""

    def post(self, request: Request) -> Response:
        try:
            deleted = sum(clear.clear_all())
        except CacheUnavailable as error:
            raise CacheAway from error
        return Response({"status": "cleared", "keys_deleted": deleted})
