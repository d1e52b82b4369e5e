"""What the admin page answers while Postgres, and with it every login, is away."""

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
SENTENCE = "Postgres does not answer. Nothing was done. Start it; the page then goes on."

View = Callable[..., HttpResponseBase]


def wants_json(request: HttpRequest) -> bool:
    """Whether a script asks, and no browser for a page."""
    return request.headers.get("Accept", "").startswith("application/json")


def without_postgres(view: View) -> View:
    """Answer 503 with a sentence where *view* fails for want of Postgres.

    Outside of everything else: sessions and users are in Postgres, so nobody is known
    then, and the page may show no more than ``/health`` shows to everybody.
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
    # Without the request: its context would ask who is logged in.
    page = render_to_string(
        "admin/cachelayer/cache/away.html",
        {
            "title": "Cache",
            "site_header": "Django administration",
            "gate": stats.gate_state(),
            "retry": RETRY,
            # A GET may be repeated; a POST that failed is not sent again by itself.
            "refresh": request.method == "GET",
        },
    )
    return HttpResponse(page, status=503, headers=headers)
