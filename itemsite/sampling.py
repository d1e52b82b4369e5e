"""Which requests are traced is decided before anything is done for one.

What is not sampled must not pay for it: Django's instrumentation does its work for every
request and psycopg's for every statement, recorded or not, which is a third of what a read
costs. So there are two of Django's handlers, and only one has the instrumentation.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind
from opentelemetry.util.http import get_excluded_urls

from itemsite import telemetry

Application = Callable[..., Iterable[bytes]]


class BySampling:
    """A WSGI application: *traced* answers what the sampler takes, *untraced* all else."""

    def __init__(self, traced: Application, untraced: Application) -> None:
        self._traced, self._untraced = Traced(traced), Untraced(untraced)
        self._sampled = Sampled()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_sampled = self._sampled.takes(environ.get("PATH_INFO", ""), environ)
        return (self._traced if is_sampled else self._untraced)(environ, start_response)


class OnLoopBySampling:
    """As ``BySampling``, of ASGI applications."""

    def __init__(self, traced: Any, untraced: Any) -> None:
        self._traced, self._untraced = traced, untraced
        self._fields = [field.encode() for field in propagate.get_global_textmap().fields]
        self._sampled = Sampled()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        chosen = self._untraced
        if scope["type"] == "http":
            given = {name: value for name, value in scope["headers"] if name in self._fields}
            parent = {_in_wsgi(name.decode()): value.decode() for name, value in given.items()}
            if self._sampled.takes(scope["path"], parent):
                chosen = self._traced
        await chosen(scope, receive, send)


class Traced:
    """A WSGI application whose requests the sampler has taken."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with telemetry.decided():
            return self._application(environ, start_response)


class Untraced:
    """A WSGI application whose requests are not traced, and cost no more than that."""

    def __init__(self, application: Application) -> None:
        self._application, self._parents = application, Parents()
        self._silent = _silent(self._parents.nobody)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        parent = self._parents.of(environ)
        # The caller's trace stays in the log lines.
        silent = self._silent if parent is self._parents.nobody else _silent(parent)
        token = context.attach(silent)
        try:
            return self._application(environ, start_response)
        finally:
            context.detach(token)


class Sampled:
    """Which requests the sampler takes."""

    def __init__(self) -> None:
        self._parents = Parents()
        self._excluded = get_excluded_urls("DJANGO")

    def takes(self, path: str, environ: dict[str, Any]) -> bool:
        """Ask about a request for *path*; *environ* says what it belongs to.

        Not about what is never traced: what machines ask every second would use up the rate.
        """
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            return False
        if self._excluded.url_disabled(f"http://-{path}"):
            return False
        trace_id = provider.id_generator.generate_trace_id()
        parent = self._parents.of(environ)
        asked = provider.sampler.should_sample(parent, trace_id, "GET", SpanKind.SERVER)
        # The SDK does not annotate it.
        return bool(asked.decision.is_sampled())  # type: ignore[no-untyped-call]


class Parents:
    """What a request says of the trace that it belongs to."""

    def __init__(self) -> None:
        self._names = [_in_wsgi(field) for field in propagate.get_global_textmap().fields]
        self.nobody = Context()

    def of(self, environ: dict[str, Any]) -> Context:
        """The caller's span; ``nobody`` where it names none."""
        if not any(map(environ.get, self._names)):
            return self.nobody
        return propagate.extract(environ, context=self.nobody, getter=wsgi_getter)


def _in_wsgi(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


class PerSecond(Sampler):
    """Takes *rate* requests a second in each process: a person's always, of a load a share.

    What was not taken may be made up for within a second. Below a caller's span, the caller
    decides (``ParentBased``).
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._left, self._at = rate, time.monotonic()

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        *args: Any,
        **kwargs: Any,
    ) -> SamplingResult:
        with self._lock:
            now = time.monotonic()
            self._left = min(self._rate, self._left + (now - self._at) * self._rate)
            self._at = now
            is_taken = self._left >= 1
            self._left -= is_taken
        return SamplingResult(Decision.RECORD_AND_SAMPLE if is_taken else Decision.DROP)

    def get_description(self) -> str:
        return f"PerSecond{{{self._rate:g}}}"


def _silent(parent: Context) -> Context:
    """*parent*, with no instrumentation at work below it."""
    token = context.attach(parent)
    try:
        with suppress_instrumentation():
            return context.get_current()
    finally:
        context.detach(token)
