"""The server span of a sampled request: begun before it is known who answers.

A hit is answered below Django, everything else by Django. OpenTelemetry's middleware would begin
the span inside Django: after the look-up that a hit consists of, and after the wait for a thread.
So it begins here, and the middleware takes it over where it would begin one of its own. Name,
attributes and status are the middleware's work for a hit too, which passes it and nothing else
of Django's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import resolve
from django.utils.module_loading import import_string
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.trace import Span, SpanKind

from cachelayer.telemetry import opentelemetry
from itemsite import telemetry

Headers = list[tuple[str, str]]

_BEGUN: Final = context.create_key("itemsite-begun")


class Begun:
    """One request's server span. Whoever answers ends it; if nobody does, it is not sent."""

    def __init__(self, span: Span, parent: Context) -> None:
        self.span = span
        #: Whether the request has been handed to Django, which ends the span.
        self.is_djangos = False
        self._is_taken = False
        inside = trace.set_span_in_context(span, parent)
        self._context = context.set_value(_BEGUN, self, inside)

    @contextmanager
    def current(self) -> Iterator[None]:
        """In the block, spans and log lines belong to this one."""
        token = context.attach(self._context)
        try:
            yield
        finally:
            context.detach(token)

    def take(self) -> Span | None:
        """The span, for the first who asks."""
        is_taken, self._is_taken = self._is_taken, True
        return None if is_taken else self.span


class ServerSpans:
    """Begins the server spans of this process, and ends those of hits. Made before the fork."""

    def __init__(self, tracer: "_Tracer", middleware: Callable[..., Any]) -> None:
        self._tracer, self._middleware = tracer, middleware

    def begin(self, method: str, parent: Context) -> Begun:
        """The span of a request that the sampler has taken, below the caller's in *parent*."""
        with telemetry.decided():
            span = self._tracer.itself.start_span(method, parent, SpanKind.SERVER)
        return Begun(span, parent)

    def end_hit(
        self, begun: Begun, environ: dict[str, Any], status: int, headers: Headers
    ) -> Headers:
        """End the span of a hit as Django's would end; *headers*, and those that name the trace."""
        linked = _linked(headers, begun.span)

        def answer(request: HttpRequest) -> HttpResponse:
            # Django has it from here on, not before.
            request.resolver_match = match = resolve(request.path_info)
            middleware.process_view(request, match.func, match.args, match.kwargs)
            return HttpResponse(status=status, headers=dict(headers))

        middleware = self._middleware(answer)
        with begun.current():
            middleware(WSGIRequest(environ))
        return linked


def instrument() -> ServerSpans | None:
    """Let Django take over the spans that are begun here; None if Django is not to be traced."""
    before = {*settings.MIDDLEWARE}
    provider = _Provider()
    DjangoInstrumentor().instrument(tracer_provider=provider, response_hook=_link_to_trace)
    added = [name for name in settings.MIDDLEWARE if name not in before]
    return ServerSpans(provider.tracer, import_string(added[0])) if added else None


class _Tracer(trace.Tracer):
    """Django's: it takes over the span of a request where that has begun."""

    def __init__(self, itself: trace.Tracer) -> None:
        self.itself = itself

    def start_span(
        self, name: str, context: Context | None = None, *args: Any, **options: Any
    ) -> Span:
        begun = _begun_in(context)
        span = begun.take() if begun else None
        if span is None:
            return self.itself.start_span(name, context, *args, **options)
        span.update_name(name)
        span.set_attributes(options.get("attributes") or {})
        return span

    def start_as_current_span(self, *args: Any, **options: Any) -> Any:
        return self.itself.start_as_current_span(*args, **options)


class _Provider(trace.TracerProvider):
    """Gives Django's instrumentation its tracer."""

    tracer: _Tracer

    def get_tracer(self, *args: Any, **options: Any) -> _Tracer:
        self.tracer = _Tracer(trace.get_tracer_provider().get_tracer(*args, **options))
        return self.tracer


def _begun_in(inside: Context | None) -> Begun | None:
    begun = context.get_value(_BEGUN, inside)
    return begun if isinstance(begun, Begun) else None


def _link_to_trace(span: Span, request: Any, response: Any) -> None:
    for name, value in opentelemetry.response_headers(span):
        response[name] = f"{response[name]}, {value}" if response.has_header(name) else value


def _linked(headers: Headers, span: Span) -> Headers:
    """*headers*, with those that name the trace; as ``_link_to_trace``, of a hit."""
    linked = [*headers]
    for name, value in opentelemetry.response_headers(span):
        at = next((i for i, (n, _) in enumerate(linked) if n.lower() == name.lower()), None)
        if at is None:
            linked.append((name, value))
        else:
            linked[at] = (linked[at][0], f"{linked[at][1]}, {value}")
    return linked
