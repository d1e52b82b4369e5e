"""The answer of the cache page while Postgres is away, and with it every login."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string

from cachelayer.operations import stats

logger = logging.getLogger("cachelayer.admin")

#: Seconds until the page asks again.
RETRY: int = 5
SENTENCE = "Postgres does not answer. Nothing was done. Start Postgres; then the page continues."

View = Callable[..., HttpResponseBase]


def wants_json(request: HttpRequest) -> bool:
    """Whether a script sent the request, not a browser that wants a page."""
    return request.headers.get("Accept", "").startswith("application/json")


def without_postgres(view: View) -> View:
    """Answer 503 with a message when *view* fails because Postgres is away.

    This wraps everything else. Sessions and users are in Postgres, so the user is unknown, and
    the page may show only what ``/health`` shows to everybody.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            logger.warning("The cache page waits for Postgres: %s", error)
            return _answer(request)

    return answer


def _answer(request: HttpRequest) -> HttpResponse:
    headers = {"Retry-After": str(RETRY), "Cache-Control": "no-store"}
    if wants_json(request):
        return JsonResponse({"error": SENTENCE}, status=503, headers=headers)
    # Without the request, because its context would look up the user.
    page = render_to_string(
        "admin/cachelayer/cache/away.html",
        {
            "title": "Cache",
            "site_header": "Django administration",
            "gate": stats.gate_state(),
            "retry": RETRY,
            # A GET may be repeated. A failed POST must not repeat by itself.
            "refresh": request.method == "GET",
        },
    )
    return HttpResponse(page, status=503, headers=headers)
