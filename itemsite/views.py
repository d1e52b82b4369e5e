"""What belongs to no app: health, and errors outside REST framework as JSON."""

from collections.abc import Callable
from contextlib import closing
from functools import wraps
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from cachelayer.contrib import metrics_page
from cachelayer.operations import stats
from cachelayer.redis import transport
from itemsite import metrics_files
from itemsite.api import errors
from itemsite.environment import WebEnvironment

View = Callable[[HttpRequest], HttpResponseBase]


def read_only(view: View) -> View:
    """Let GET and HEAD through, answer 405 to others."""

    @csrf_exempt
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request)
        sentence = f"{request.method} is not possible here. Use GET, HEAD."
        return errors.respond(405, sentence, {"Allow": "GET, HEAD"})

    return checked


@read_only
def health(request: HttpRequest) -> HttpResponse:
    """200 while items can be read and written, also without Redis; else 503."""
    redis, postgres = transport.ping(), _postgres_answers()
    repair = stats.repair_state() if postgres else None
    body = {
        "status": "ok" if redis and postgres else "degraded",
        "service": "api",
        "dependencies": {"redis": _word(redis), "postgres": _word(postgres)},
        "cache": {"gate": stats.gate_state(), "repair": repair},
    }
    headers = {"Cache-Control": "no-store"}
    return JsonResponse(body, status=200 if postgres else 503, headers=headers)


@read_only
def live(request: HttpRequest) -> HttpResponse:
    """200 if this process answers; neither Redis nor Postgres is asked."""
    return JsonResponse({"status": "live"}, headers={"Cache-Control": "no-store"})


@read_only
def prometheus(request: HttpRequest) -> HttpResponse:
    """The metrics of all workers, and the repair log as it is now."""
    folder = WebEnvironment.read().metrics_dir
    processes = metrics_files.Collector(Path(folder)) if folder else None
    return HttpResponse(metrics_page.page(processes), content_type=metrics_page.CONTENT_TYPE)


def _word(answers: bool) -> str:
    return "ok" if answers else "down"


def _postgres_answers() -> bool:
    """Whether a new connection can be made and used.

    An existing one would wait without end for a server that has been paused;
    for a new one there is ``connect_timeout``.
    """
    with closing(connections.create_connection(DEFAULT_DB_ALIAS)) as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Error:
            return False
    return True


@csrf_exempt
def not_an_id(request: HttpRequest, text: str) -> JsonResponse:
    """404 for ``/items/<something else than a UUID>``."""
    return errors.respond(
        404, "There is no such item: an id is a UUID, such as 550e8400-e29b-41d4-a716-446655440001."
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: Django refused the request before a view saw it."""
    if _is_page(request):
        return defaults.bad_request(request, exception)
    return errors.respond(
        400, "The request is malformed, or its Host header is not one of ALLOWED_HOSTS."
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if _is_page(request):
        return defaults.permission_denied(request, exception)
    return errors.respond(403, "You may not do this. Log in as somebody who may.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if _is_page(request):
        return defaults.page_not_found(request, exception)
    hint = "Leave out the slash at the end." if request.path.endswith("/") else "Check the path."
    return errors.respond(404, f"There is nothing at {request.path}. {hint}")


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a bug."""
    if _is_page(request):
        return defaults.server_error(request)
    return errors.respond(500, "The server failed on this request; its log says why. Report it.")


def _is_page(request: HttpRequest) -> bool:
    """Whether a person looks at the answer, not a program."""
    return request.path.startswith(("/admin/", settings.STATIC_URL))
