"""Spans of a hit that was answered below Django: those that Django's instrumentation would make.

Whether a request is traced, the sampler says, as for any other; asked here before anything
is made, so that a hit that is not traced costs that question. One that is, goes through the
instrumentation's own middleware after the fact, with the times at which things happened.
"""

from types import SimpleNamespace
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.urls import Resolver404, resolve
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from cachelayer import spans
from cachelayer.wsgi import Environ, Headers, Hit
from itemsite import telemetry


class HitSpans:
    """A ``cachelayer.wsgi.Trace``."""

    def __init__(self) -> None:
        self._middleware: Any = _DjangoMiddleware(lambda request: HttpResponse())  # type: ignore[no-untyped-call]
        fields = propagate.get_global_textmap().fields
        self._parents = [f"HTTP_{field.upper().replace('-', '_')}" for field in fields]

    def __call__(self, environ: Environ, hit: Hit, headers: Headers) -> Headers:
        """Make the spans of *hit* if the request is to be traced; what its response says then."""
        if not self._is_sampled(environ):
            return headers
        environ["opentelemetry-instrumentor-django.starttime_key"] = hit.began
        request = WSGIRequest(environ)
        response = HttpResponse(status=int(hit.status[:3]))
        del response["Content-Type"]
        for name, value in headers:
            response[name] = value
        with telemetry.sampled():
            self._middleware.process_request(request)
        try:
            request.resolver_match = resolve(request.path_info)
        except Resolver404:
            request.resolver_match = SimpleNamespace(route=None)  # type: ignore[assignment]
        self._middleware.process_view(request, None)
        spans.record_get(hit.key, hit.value, hit.asked, hit.answered)
        spans.outcome("hit")
        self._middleware.process_response(request, response)
        return list(response.headers.items())

    def _is_sampled(self, environ: Environ) -> bool:
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            return False
        parent = Context()
        if any(map(environ.get, self._parents)):
            parent = propagate.extract(environ, context=parent, getter=wsgi_getter)
        trace_id = provider.id_generator.generate_trace_id()
        asked = provider.sampler.should_sample(parent, trace_id, "GET", SpanKind.SERVER)
        return bool(asked.decision.is_sampled())  # type: ignore[no-untyped-call]
