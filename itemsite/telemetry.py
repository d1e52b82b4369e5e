"""Traces: OpenTelemetry, configured by its standard ``OTEL_*`` variables.

Two steps. ``wrap()`` around the WSGI application, which builds another of Django's handlers
for what is traced; ``start()`` in each worker after the fork, because the thread that sends
the spans does not survive one. Without an endpoint to send them to, both do nothing.

Nothing here can hold up or fail a request: spans go into a queue with a bound, a
separate thread sends them, and what cannot be sent is dropped, with one line in the log when
that begins and one when it ends.
"""

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from itemsite.environment import TracingEnvironment

if TYPE_CHECKING:
    from itemsite.sampling import Application
    from itemsite.server_spans import ServerSpans

logger = logging.getLogger("itemsite.telemetry")

#: Seconds in which a worker that ends may still send what it has recorded.
_LAST_WORDS: Final = 1.0
_provider: TracerProvider | None = None
_decided: ContextVar[bool] = ContextVar("itemsite_sampled", default=False)


def _instrument() -> "ServerSpans | None":
    """Let Django, psycopg and transactions make spans, in this process and those it forks."""
    # Only here: an import that costs nothing where nothing is traced.
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    from itemsite import server_spans, transaction_spans

    PsycopgInstrumentor().instrument()
    transaction_spans.instrument()
    return server_spans.instrument()


def wrap(django: "Application", traced: Callable[[], "Application"]) -> "Application":
    """*django*, with its hits answered below it, and some requests traced.

    Of those, what is no hit goes to what *traced* makes after Django has been instrumented; it
    is not called, and nothing is wrapped, where nothing is traced.
    """
    # Not at the top: they need the settings.
    from cachelayer.contrib.wsgi import fast_hits

    spans = _instrument() if TracingEnvironment.read().enabled else None
    if spans is None:
        return fast_hits(django)
    from itemsite.sampling import BySampling, Django

    return BySampling(fast_hits(Django(traced(), django)), spans)


def wrap_on_loop(django: "Application", traced: Callable[[], "Application"], threads: int) -> Any:
    """As ``wrap``, for an ASGI server: *django*'s hits on the loop, all else in *threads*."""
    from cachelayer.contrib.asgi import front
    from cachelayer.contrib.threads import Threads

    spans = _instrument() if TracingEnvironment.read().enabled else None
    if spans is None:
        return front(django, Threads(threads))
    from itemsite.sampling import Django, OnLoopBySampling, Untraced

    return OnLoopBySampling(front(Django(traced(), Untraced(django)), Threads(threads)), spans)


@contextmanager
def decided() -> Iterator[None]:
    """The sampler has taken this request: server spans that begin in the block are recorded."""
    token = _decided.set(True)
    try:
        yield
    finally:
        _decided.reset(token)


def start() -> None:
    """Record and send from now on; in a worker, after the fork."""
    global _provider
    environment = TracingEnvironment.read()
    if not environment.enabled:
        return
    try:
        exporter = _exporter(environment.protocol)
    except ValueError as error:
        logger.error("Nothing is traced. %s", error)
        return
    resource = Resource.create({"process.pid": os.getpid()})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.sampler = _Requests(_sampler(environment) or _provider.sampler)
    _provider.add_span_processor(BatchSpanProcessor(_Quiet(exporter, environment.endpoint)))
    trace.set_tracer_provider(_provider)


def _sampler(environment: TracingEnvironment) -> Sampler | None:
    """The one with a rate; None where the standard variables name another."""
    if not environment.per_second:
        return None
    from itemsite.sampling import PerSecond

    return ParentBased(PerSecond(environment.per_second))


def stop() -> None:
    """Send what is recorded, for a second at most: a collector that hangs holds nobody up."""
    if _provider:
        last_words = threading.Thread(target=_provider.shutdown, daemon=True)
        last_words.start()
        last_words.join(_LAST_WORDS)


def _exporter(protocol: str) -> SpanExporter:
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

        return http.OTLPSpanExporter()
    if protocol == "grpc":
        return _grpc_exporter()
    raise ValueError(
        f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not known. Set it to http/protobuf or grpc."
    )


def _grpc_exporter() -> SpanExporter:
    try:
        grpc = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    except ImportError:
        raise ValueError(
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc needs a package. Install "
            "opentelemetry-exporter-otlp-proto-grpc, or set it to http/protobuf."
        ) from None
    exporter: SpanExporter = grpc.OTLPSpanExporter()
    return exporter


class _Requests(Sampler):
    """What the variables say, of what people did: a statement by itself begins no trace.

    Each worker looks into the repair log once a second, and more; those would push out
    the traces of requests.
    """

    def __init__(self, configured: Sampler) -> None:
        self._configured = configured

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> SamplingResult:
        if kind is SpanKind.SERVER and _decided.get():
            return SamplingResult(Decision.RECORD_AND_SAMPLE)
        if kind is SpanKind.CLIENT:
            above = trace.get_current_span(parent_context).get_span_context()
            if not above.is_valid:
                return SamplingResult(Decision.DROP)
        return self._configured.should_sample(parent_context, trace_id, name, kind, *args, **kwargs)

    def get_description(self) -> str:
        return f"Requests{{{self._configured.get_description()}}}"


class _Quiet(SpanExporter):
    """An exporter that says once when spans stop arriving, and once when they arrive again.

    The SDK's own would say it for every batch.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._arriving = True
        self._words = _FirstWords()
        for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
            noisy = logging.getLogger(name)
            noisy.addHandler(self._words)
            noisy.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._words.first = ""
        result = self._exporter.export(spans)
        arriving = result is SpanExportResult.SUCCESS
        if arriving != self._arriving:
            self._arriving = arriving
            if arriving:
                logger.info("Traces arrive at %s again.", self._endpoint)
            else:
                logger.warning(
                    "Traces do not arrive at %s, and requests go on without: %s",
                    self._endpoint,
                    self._words.first,
                )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _FirstWords(logging.Handler):
    """Remembers the first message since it was emptied, and passes none on."""

    first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()
