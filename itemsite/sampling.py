"""Which requests are traced is decided before anything is done for one.

What is not sampled must not pay for it: Django's instrumentation does its work for every
request and psycopg's for every statement, recorded or not, which is a third of what a read
costs. So there are two of Django's handlers, and only one has the instrumentation.
"""

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from itemsite import telemetry

Application = Callable[..., Iterable[bytes]]


class BySampling:
    """A WSGI application: *traced* answers what the sampler takes, *untraced* all else."""

    def __init__(self, traced: Application, untraced: Application) -> None:
        self._traced, self._untraced = traced, untraced
        fields = propagate.get_global_textmap().fields
        self._parents = [f"HTTP_{field.upper().replace('-', '_')}" for field in fields]
        self._nobody = Context()
        self._silent = _silent(self._nobody)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        parent, silent = self._nobody, self._silent
        if any(map(environ.get, self._parents)):
            parent = propagate.extract(environ, context=parent, getter=wsgi_getter)
            # The caller's trace stays in the log lines.
            silent = _silent(parent)
        if _is_sampled(parent):
            with telemetry.decided():
                return self._traced(environ, start_response)
        token = context.attach(silent)
        try:
            return self._untraced(environ, start_response)
        finally:
            context.detach(token)


def _silent(parent: Context) -> Context:
    """*parent*, with no instrumentation at work below it."""
    token = context.attach(parent)
    try:
        with suppress_instrumentation():
            return context.get_current()
    finally:
        context.detach(token)


def _is_sampled(parent: Context) -> bool:
    """What the sampler says of a server span below *parent*."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return False
    trace_id = provider.id_generator.generate_trace_id()
    asked = provider.sampler.should_sample(parent, trace_id, "GET", SpanKind.SERVER)
    # The SDK does not annotate it.
    return bool(asked.decision.is_sampled())  # type: ignore[no-untyped-call]
