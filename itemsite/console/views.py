"""The page at ``/`` and what it asks for."""

from typing import Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.views.decorators.http import require_POST

from cachelayer.operations import stats
from cachelayer.redis import transport
from itemsite.api import errors
from itemsite.console import lab_switches, links, listed_page, waterfall
from itemsite.console import live as numbers
from itemsite.console.lab_only import is_lab, lab_only
from itemsite.environment import TracingEnvironment
from itemsite.traces import TracesUnavailable, recent, sampled
from itemsite.views import read_only

#: Own files only, no inline script or style: what an item's text says is never code.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAMPLE: Final = "550e8400-e29b-41d4-a716-446655440001"
_TRACES: Final = 30
_NO_STORE: Final = {"Cache-Control": "no-store"}


@read_only
def home(request: HttpRequest) -> HttpResponse:
    """The lab's console; elsewhere, whether Redis and Postgres answer."""
    return _console(request) if is_lab(request) else _status(request)


@read_only
@lab_only
def live(request: HttpRequest) -> HttpResponse:
    """The numbers, and which links answer."""
    return JsonResponse(numbers.snapshot(fresh="fresh" in request.GET), headers=_NO_STORE)


@read_only
@lab_only
def listed(request: HttpRequest) -> HttpResponse:
    """The cached page of the list, and its stamp."""
    return JsonResponse(listed_page.snapshot(request), headers=_NO_STORE)


@read_only
@lab_only
def traces(request: HttpRequest) -> HttpResponse:
    """The last requests of everybody that were sampled, with their spans.

    200 also when nobody has them.
    """
    try:
        found, reason = waterfall.shown(recent(_TRACES)), ""
    except TracesUnavailable as error:
        found, reason = [], str(error)
    tracing = TracingEnvironment.read()
    words = sampled(tracing) if tracing.enabled else ""
    return JsonResponse({"traces": found, "reason": reason, "sampled": words}, headers=_NO_STORE)


@lab_only
@require_POST
def fault(request: HttpRequest, name: str) -> HttpResponse:
    """Break or mend something; 409 with a sentence where that cannot be done from here."""
    try:
        if name in lab_switches.SWITCHES:
            said = lab_switches.switch_redis(name)
        elif name == lab_switches.KILL_WORKER:
            said = lab_switches.kill_worker()
        else:
            raise Http404
    except lab_switches.Refused as refusal:
        return errors.respond(409, str(refusal))
    return JsonResponse({"detail": said}, headers=_NO_STORE)


def _console(request: HttpRequest) -> HttpResponse:
    facts = {
        "csrf": get_token(request),
        "sample": _SAMPLE,
        "list": listed_page.PATH,
        "jaeger": settings.JAEGER_URL,
    }
    return _page(request, "console/lab.html", {"facts": facts})


def _status(request: HttpRequest) -> HttpResponse:
    context = {
        "redis": transport.ping(),
        # As the repair log is asked for on a separate connection, this also says
        # whether Postgres answers.
        "postgres": stats.repair_backlog() is not None,
        "gate": stats.gate_state()["state"],
        "links": links.own(),
    }
    return _page(request, "console/status.html", context)


def _page(request: HttpRequest, template: str, context: dict[str, object]) -> HttpResponse:
    response = render(request, template, context)
    response["Content-Security-Policy"] = _POLICY
    response["Cache-Control"] = "no-store"
    return response
