"""OpenTelemetry spans of the cache: what a request did in Redis, in the protocol's terms.

Only OpenTelemetry's API is needed here; the program decides what is recorded, and where it goes.
Each operation on keys is a span ``cache.<operation>`` below the current span. There is no span if
the current span is not recorded, so an operation outside a request makes no trace.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from cachelayer import conf, events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis.gate import gate
from cachelayer.representation import relations

_tracer = trace.get_tracer("cachelayer")


def listen() -> None:
    """Make spans of the announced operations from now on."""
    events.surround_operations(_of_operation)
    events.surround_background(_of_background)
    events.read_ended.listen(_outcome)


def _of_operation(
    name: str, keys: Sequence[str] | Mapping[str, Any]
) -> AbstractContextManager[Callable[[events.Attributes], None]] | None:
    if not (trace.get_current_span().is_recording() and keys):
        return None
    return _span(name, keys)


def _of_background(name: str) -> AbstractContextManager[object]:
    """A separate trace, because no request calls the work."""
    return _tracer.start_as_current_span(f"cache.{name}")


def _outcome(kind: str, name: str, seconds: float | None) -> None:
    """Set the kind and the outcome of a read on the current span."""
    span = trace.get_current_span()
    if span.is_recording():
        gate_is = gate.mode.value
        span.set_attributes({"cache.outcome": name, "cache.kind": kind, "cache.gate": gate_is})


def of_keys(keys: Sequence[str] | Mapping[str, Any]) -> events.Attributes:
    """Attributes of every span of the cache: the key, or the number of keys, and the gate."""
    which: events.Attributes = {"cache.keys": len(keys)}
    if len(keys) == 1:
        which = {"cache.key": next(iter(keys))}
    elif len(rows := [key for key in keys if not relations.is_stamp(key.partition(":")[0])]) == 1:
        # A write also marks the stamps of its row.
        which = {"cache.key": rows[0], **which}
    return {"db.system.name": "redis", "cache.gate": gate.mode.value, **which}


@contextmanager
def _span(
    name: str, keys: Sequence[str] | Mapping[str, Any]
) -> Iterator[Callable[[events.Attributes], None]]:
    with _tracer.start_as_current_span(
        f"cache.{name}",
        kind=SpanKind.CLIENT,
        attributes=of_keys(keys),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span.set_attributes
        except CacheUnavailable as error:
            if error.__cause__ is None:
                # Redis was not asked, because the gate is not closed or the budget is used up.
                span.set_attribute("cache.refused", str(error))
            else:
                span.set_attribute("error.type", type(error.__cause__).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
            raise


def response_headers(span: Span) -> list[tuple[str, str]]:
    """The response headers that name the trace, if it is recorded.

    ``traceresponse`` (W3C Trace Context Level 2) and, with ``TRACE_LINK``, a ``Link``.
    """
    context = span.get_span_context()
    if not (span.is_recording() and context.trace_flags.sampled):
        return []
    trace_id = trace.format_trace_id(context.trace_id)
    headers = [("traceresponse", f"00-{trace_id}-{trace.format_span_id(context.span_id)}-01")]
    if link := conf.get().TRACE_LINK:
        headers.append(("Link", f'<{link.replace("{trace_id}", trace_id)}>; rel="trace"'))
    return headers
