"""From OTLP's protobuf to the spans of Jaeger's JSON query API."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

#: Longer text is cut: a statement with a thousand ids says no more than its beginning.
_TEXT: Final = 4096
_KINDS: Final = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}

Json = dict[str, Any]


class MalformedError(ValueError):
    """The body is not an ExportTraceServiceRequest."""


@dataclass(frozen=True, slots=True)
class Process:
    """What made spans: a service, and what it says of itself."""

    service: str
    tags: list[Json]

    def as_json(self) -> Json:
        return {"serviceName": self.service, "tags": self.tags}


@dataclass(frozen=True, slots=True)
class Received:
    """One span, in Jaeger's JSON but for ``processID``, and the process that made it."""

    trace_id: str
    span: Json
    process: Process


def decode(body: bytes) -> list[Received]:
    """The spans in *body*; raises ``MalformedError``."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError(str(error)) from error
    return list(_received(request))


def _received(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        tags = _tags(resource.resource.attributes)
        service = next((t["value"] for t in tags if t["key"] == "service.name"), "unknown")
        process = Process(str(service), [t for t in tags if t["key"] != "service.name"])
        for scope in resource.scope_spans:
            for span in scope.spans:
                if len(span.trace_id) != 16 or len(span.span_id) != 8:
                    raise MalformedError("A trace id has 16 bytes and a span id 8.")
                yield Received(span.trace_id.hex(), _span(span, scope.scope.name), process)


def _span(span: Span, scope: str) -> Json:
    trace_id, start = span.trace_id.hex(), span.start_time_unix_nano // 1000
    parents = [{"refType": "CHILD_OF", "traceID": trace_id, "spanID": span.parent_span_id.hex()}]
    tags = _tags(span.attributes)
    if scope:
        tags.append(_tag("otel.scope.name", scope))
    if kind := _KINDS.get(span.kind):
        tags.append(_tag("span.kind", kind))
    if span.status.code == Status.STATUS_CODE_ERROR:
        tags += [_tag("otel.status_code", "ERROR"), _tag("error", True)]
        if span.status.message:
            tags.append(_tag("otel.status_description", span.status.message[:_TEXT]))
    return {
        "traceID": trace_id,
        "spanID": span.span_id.hex(),
        "operationName": span.name[:_TEXT],
        "references": parents if span.parent_span_id else [],
        "startTime": start,
        "duration": max(0, (span.end_time_unix_nano - span.start_time_unix_nano) // 1000),
        "tags": tags,
        "logs": [
            {
                "timestamp": event.time_unix_nano // 1000,
                "fields": [_tag("event", event.name[:_TEXT]), *_tags(event.attributes)],
            }
            for event in span.events
        ],
        "warnings": None,
    }


def _tags(attributes: Iterable[KeyValue]) -> list[Json]:
    return [_tag(attribute.key, _value(attribute.value)) for attribute in attributes]


def _tag(key: str, value: Any) -> Json:
    kinds = {bool: "bool", int: "int64", float: "float64"}
    return {"key": key, "type": kinds.get(type(value), "string"), "value": value}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "array_value":
        return str([_value(part) for part in value.array_value.values])[:_TEXT]
    if kind == "kvlist_value":
        return str({part.key: _value(part.value) for part in value.kvlist_value.values})[:_TEXT]
    if kind == "bytes_value":
        return value.bytes_value.hex()[:_TEXT]
    plain = getattr(value, kind)
    return plain[:_TEXT] if isinstance(plain, str) else plain
