"""Which requests are traced is decided before anything is done for one.

What is not sampled must not pay for it: Django's instrumentation does its work for every
request and psycopg's for every statement, recorded or not, which is a third of what a read
costs. So there are two of Django's handlers, and only one has the instrumentation. The layer that
answers hits is one for both: a sampled hit is as fast as any other, and gets its spans.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind
from opentelemetry.util.http import get_excluded_urls

from cachelayer.contrib.threads import environ_of
from itemsite.server_spans import Headers, ServerSpans

Application = Callable[..., Iterable[bytes]]


#: Under this name a request's environment, or its ASGI scope, has its ``Begun``.
_BEGUN: Final = "itemsite.begun"


class BySampling:
    """A WSGI *application* whose sampled requests have a server span, and others no tracing."""

    def __init__(self, application: Application, spans: ServerSpans) -> None:
        self._application, self._untraced = application, Untraced(application)
        self._sampled, self._spans = Sampled(), spans

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        parent = self._sampled.parent(environ.get("PATH_INFO", ""), environ)
        if parent is None:
            return self._untraced(environ, start_response)
        begun = environ[_BEGUN] = self._spans.begin(environ["REQUEST_METHOD"], parent)

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            if not begun.is_djangos:
                headers = self._spans.end_hit(begun, environ, int(status[:3]), headers)
            return start_response(status, headers, *exc_info)

        with begun.current():
            return self._application(environ, start)


class OnLoopBySampling:
    """As ``BySampling``, of an ASGI *application* that runs a ``Django`` in threads."""

    def __init__(self, application: Any, spans: ServerSpans) -> None:
        self._application = application
        fields = propagate.get_global_textmap().fields
        self._fields = {field.encode(): _in_wsgi(field) for field in fields}
        self._sampled, self._spans = Sampled(), spans

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            said: dict[str, str] = {}
            for name, value in scope["headers"]:
                if name in self._fields:
                    said[self._fields[name]] = value.decode("latin-1")
            parent = self._sampled.parent(scope["path"], said)
            if parent is not None:
                await self._trace(parent, scope, receive, send)
                return
        await self._application(scope, receive, send)

    async def _trace(self, parent: Context, scope: Any, receive: Any, send: Any) -> None:
        begun = scope[_BEGUN] = self._spans.begin(scope["method"], parent)

        async def send_linked(message: Any) -> None:
            if message["type"] == "http.response.start" and not begun.is_djangos:
                given = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message["headers"]]
                linked = self._spans.end_hit(begun, environ_of(scope), message["status"], given)
                encoded = [(n.lower().encode(), v.encode("latin-1")) for n, v in linked]
                message = {**message, "headers": encoded}
            await send(message)

        with begun.current():
            await self._application(scope, receive, send_linked)


class Django:
    """Django's WSGI handler: *traced* for the requests whose server span has begun."""

    def __init__(self, traced: Application, untraced: Application) -> None:
        self._traced, self._untraced = traced, untraced

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        begun = environ.get("asgi.scope", environ).get(_BEGUN)
        if begun is None:
            return self._untraced(environ, start_response)
        begun.is_djangos = True
        # A thread has no part in the context of the loop's task.
        with begun.current():
            return self._traced(environ, start_response)


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

    def parent(self, path: str, environ: dict[str, Any]) -> Context | None:
        """What the span of a request for *path* belongs to, as *environ* says.

        None if the sampler does not take it. The sampler is not asked about what is never
        traced: what machines ask every second would use up the rate.
        """
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            return None
        if self._excluded.url_disabled(f"http://-{path}"):
            return None
        trace_id = provider.id_generator.generate_trace_id()
        parent = self._parents.of(environ)
        asked = provider.sampler.should_sample(parent, trace_id, "GET", SpanKind.SERVER)
        # The SDK does not annotate it.
        return parent if asked.decision.is_sampled() else None  # type: ignore[no-untyped-call]


class Parents:
    """What a request says of the trace that it belongs to."""

    def __init__(self) -> None:
        self._names = [_in_wsgi(field) for field in propagate.get_global_textmap().fields]
        self.nobody = Context()

    def of(self, environ: dict[str, Any]) -> Context:
        """The caller's span; ``nobody`` where it names none."""
        if not environ or not any(map(environ.get, self._names)):
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
