"""Spans of the cache: what a request did in Redis, in the protocol's own terms.

For OpenTelemetry, of which only the API is needed here: what is recorded, and where it
goes, is the program's choice. Each operation of ``states.py`` is a span ``cache.<operation>``
below the current one. Where the current span is not recorded there is none, and an operation
costs one look at it; so work in the background, which belongs to no request, makes no traces.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from cachelayer import conf, relations
from cachelayer.gate import CacheUnavailable, gate

Keys = TypeVar("Keys", bound=Sequence[str] | Mapping[str, Any])
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Attributes = Mapping[str, str | bool | int]

_tracer = trace.get_tracer("cachelayer")


def operation(
    name: str, describe: Callable[[Any], Attributes] = lambda result: {}
) -> Callable[
    [Callable[Concatenate[Keys, Rest], Result]], Callable[Concatenate[Keys, Rest], Result]
]:
    """Make a function whose first argument is keys (or rows by key) the span ``cache.<name>``.

    *describe* gives attributes for its result.
    """

    def decorate(
        function: Callable[Concatenate[Keys, Rest], Result],
    ) -> Callable[Concatenate[Keys, Rest], Result]:
        @wraps(function)
        def call(keys: Keys, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
            if not (trace.get_current_span().is_recording() and keys):
                return function(keys, *args, **kwargs)
            with _span(name, keys) as span:
                result = function(keys, *args, **kwargs)
                span.set_attributes(describe(result))
            return result

        return call

    return decorate


def background(
    name: str,
) -> Callable[[Callable[Rest, Result]], Callable[Rest, Result]]:
    """Make a function the span ``cache.<name>``, a trace of its own where no request calls it."""
    return _tracer.start_as_current_span(f"cache.{name}")


def outcome(name: str, kind: str) -> None:
    """Note on the current span how a read ended (``hit``, ``miss`` or ``bypass``), and of what."""
    span = trace.get_current_span()
    if span.is_recording():
        gate_is = gate.mode.value
        span.set_attributes({"cache.outcome": name, "cache.kind": kind, "cache.gate": gate_is})


def of_keys(keys: Sequence[str] | Mapping[str, Any]) -> Attributes:
    """What every span of the cache says: the key or how many, and the gate as it is now."""
    which: Attributes = {"cache.keys": len(keys)}
    if len(keys) == 1:
        which = {"cache.key": next(iter(keys))}
    elif len(rows := [key for key in keys if not relations.is_stamp(key.partition(":")[0])]) == 1:
        # A row's mark goes onto its table's stamp as well.
        which = {"cache.key": rows[0], **which}
    return {"db.system.name": "redis", "cache.gate": gate.mode.value, **which}


@contextmanager
def _span(name: str, keys: Sequence[str] | Mapping[str, Any]) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        f"cache.{name}",
        kind=SpanKind.CLIENT,
        attributes=of_keys(keys),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except CacheUnavailable as error:
            if error.__cause__ is None:
                # Redis was not asked: the gate is not closed, or the budget is spent.
                span.set_attribute("cache.refused", str(error))
            else:
                span.set_attribute("error.type", type(error.__cause__).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
            raise


def response_headers(span: Span) -> list[tuple[str, str]]:
    """What a response says of its trace, if it is recorded: how to find it.

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


def without_trace(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """*headers* of a response, without what ``response_headers`` has put among them."""
    kept = []
    for name, value in headers:
        if name == "traceresponse":
            continue
        if name == "Link":
            value = _TRACE_LINK.sub("", value)
            if not value:
                continue
        kept.append((name, value))
    return kept


_TRACE_LINK = re.compile(r'(?:, )?<[^>]*>; rel="trace"$')
