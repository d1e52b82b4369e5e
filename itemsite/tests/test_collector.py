"""The lab's collector: what it takes, what it gives, and what it cannot be made to hold."""

import gzip
import json
import threading
import zlib
from contextlib import closing
from http.client import HTTPConnection

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from itemsite import traces
from itemsite.collector import otlp, server
from itemsite.collector.server import Server
from itemsite.collector.store import Store
from itemsite.lab.ports import free_port


@pytest.fixture
def collector():
    with Server(free_port(), Store(traces=5, spans=30)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def request(trace=1, spans=1, service="api", start=1_000_000_000, **fields):
    """An export of one trace: a request span and others below it."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    tag = resource.resource.attributes.add(key="service.name")
    tag.value.string_value = service
    scope = resource.scope_spans.add()
    scope.scope.name = "test"
    for number in range(1, spans + 1):
        scope.spans.add(
            trace_id=trace.to_bytes(16),
            span_id=number.to_bytes(8),
            parent_span_id=b"" if number == 1 else (1).to_bytes(8),
            name=f"span {number}",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=start + number * 1000,
            end_time_unix_nano=start + number * 1000 + 500_000,
            **fields,
        )
    return made.SerializeToString()


def ask(collector, method, path, body=None, **headers):
    """The status and the JSON of the answer."""
    with closing(HTTPConnection("127.0.0.1", collector.server_port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
    kind = answer.headers["Content-Type"]
    return answer.status, json.loads(text) if kind == "application/json" else text.decode()


def post(collector, body, **headers):
    headers = {"Content-Type": "application/x-protobuf"} | headers
    return ask(collector, "POST", "/v1/traces", body, **headers)


def test_a_trace_comes_back_in_jaegers_json(collector):
    assert post(collector, request(trace=0xABC, spans=2)) == (200, "")
    status, found = ask(collector, "GET", "/api/traces?service=api&limit=5")
    assert status == 200
    assert found["errors"] is None
    [trace] = found["data"]
    assert trace["traceID"] == f"{0xABC:032x}"
    assert trace["processes"] == {"p1": {"serviceName": "api", "tags": []}}
    first, second = trace["spans"]
    assert first["operationName"] == "span 1"
    assert first["references"] == []
    assert first["startTime"] == 1_000_001
    assert first["duration"] == 500
    assert first["processID"] == "p1"
    assert {"key": "span.kind", "type": "string", "value": "server"} in first["tags"]
    assert second["references"] == [
        {"refType": "CHILD_OF", "traceID": trace["traceID"], "spanID": first["spanID"]}
    ]
    assert ask(collector, "GET", "/api/services")[1]["data"] == ["api"]


def test_a_trace_is_found_by_its_id_with_or_without_zeros_in_front(collector):
    post(collector, request(trace=0xABC))
    for name in ("abc", "ABC", f"{0xABC:032x}"):
        assert ask(collector, "GET", f"/api/traces/{name}")[1]["data"][0]["spans"]
    status, body = ask(collector, "GET", "/api/traces/abd")
    assert status == 404
    assert body["errors"] == [{"code": 404, "msg": "trace not found"}]


def test_a_failed_span_says_so(collector):
    post(collector, request(status=Status(code=Status.STATUS_CODE_ERROR, message="broken")))
    [trace] = ask(collector, "GET", "/api/traces/1")[1]["data"]
    tags = {tag["key"]: tag["value"] for tag in trace["spans"][0]["tags"]}
    assert tags["error"] is True
    assert tags["otel.status_code"] == "ERROR"
    assert tags["otel.status_description"] == "broken"


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_packed_bodies_are_unpacked(collector, encoding, pack):
    assert post(collector, pack(request()), **{"Content-Encoding": encoding})[0] == 200
    assert collector.store.services() == ["api"]


def test_people_see_text(collector):
    assert ask(collector, "GET", "/") == (200, "No traces yet.\n")
    post(collector, request(spans=2))
    for path in ("/", "/trace/1"):
        status, text = ask(collector, "GET", path)
        assert status == 200
        assert "    span 2" in text


def test_the_newest_come_first_and_no_more_than_asked_for(collector):
    for number in (3, 1, 2):
        post(collector, request(trace=number, start=number * 10**12))
    found = ask(collector, "GET", "/api/traces?service=api&limit=2")[1]["data"]
    assert [int(trace["traceID"], 16) for trace in found] == [3, 2]
    assert ask(collector, "GET", "/api/traces?service=other")[1]["data"] == []


def test_old_traces_make_room_for_new_ones(collector):
    for number in range(1, 9):
        post(collector, request(trace=number))
    assert [collector.store.find(str(n)) is not None for n in range(1, 9)] == [False] * 3 + [
        True
    ] * 5


def test_all_spans_together_are_bounded(collector):
    for number in (1, 2, 3):
        post(collector, request(trace=number, spans=14))
    assert [collector.store.find(str(n)) is not None for n in (1, 2, 3)] == [False, True, True]
    post(collector, request(trace=4, spans=100))
    assert collector.store.services() == []
    post(collector, request(trace=5, spans=30))
    assert len(collector.store.find("5")["spans"]) == 30


def test_one_trace_is_bounded_and_says_what_is_missing():
    store = Store()
    store.add(otlp.decode(request(spans=503)))
    trace = store.find("1")
    assert len(trace["spans"]) == 500
    assert trace["warnings"] == ["3 more spans were dropped."]


def test_long_text_is_cut(collector):
    made = ExportTraceServiceRequest.FromString(request())
    tag = made.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="db.query.text")
    tag.value.string_value = "x" * 100_000
    post(collector, made.SerializeToString())
    [trace] = ask(collector, "GET", "/api/traces/1")[1]["data"]
    assert max(len(str(tag["value"])) for tag in trace["spans"][0]["tags"]) == 4096


def bomb():
    return gzip.compress(b"\0" * (server.BODY + 1), mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "status", "word"),
    [
        (b"no protobuf", {}, 400, "ExportTraceServiceRequest"),
        (request().replace((1).to_bytes(16), b"x"), {}, 400, "ExportTraceServiceRequest"),
        (b"{}", {"Content-Type": "application/json"}, 415, "http/protobuf"),
        (request(), {"Content-Encoding": "br"}, 415, "gzip"),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400, "unpacked"),
        (gzip.compress(request(), mtime=0)[:-9], {"Content-Encoding": "gzip"}, 400, "ends"),
        (bomb(), {"Content-Encoding": "gzip"}, 413, "8388608"),
        (b"", {"Content-Length": str(server.BODY + 1)}, 413, "8388608"),
        (b"", {"Content-Length": "-1"}, 411, "Content-Length"),
    ],
)
def test_bad_input_is_a_sentence_and_harms_nobody(collector, body, headers, status, word):
    answered, said = post(collector, body, **headers)
    assert answered == status
    assert word in said["errors"][0]["msg"]
    assert post(collector, request())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/metrics", 404),
        ("GET", "/nothing", 404),
        ("GET", "/api/traces", 400),
        ("GET", "/api/traces?service=api&limit=x", 400),
        ("GET", "/api/traces/not-hex", 404),
    ],
)
def test_a_wrong_question_is_a_sentence(collector, method, path, status):
    answered, said = ask(collector, method, path)
    assert answered == status
    assert said["errors"][0]["msg"]


def test_ids_of_another_length_are_refused():
    made = ExportTraceServiceRequest.FromString(request())
    made.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    with pytest.raises(otlp.MalformedError, match="16 bytes"):
        otlp.decode(made.SerializeToString())


def test_recent_traces_newest_first(collector, settings):
    settings.TRACES_URL = f"http://127.0.0.1:{collector.server_port}"
    for number in (2, 3, 1):
        post(collector, request(trace=number, start=number * 10**12))
    assert [int(trace["traceID"], 16) for trace in traces.recent(5)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "Set TRACES_URL"),
        ("http://127.0.0.1:1", "does not answer"),
    ],
)
def test_without_traces_there_is_a_sentence(settings, url, sentence):
    settings.TRACES_URL = url
    with pytest.raises(traces.TracesUnavailable, match=sentence):
        traces.recent(5)


def test_what_is_no_jaeger_is_a_sentence(collector, settings):
    settings.TRACES_URL = f"http://127.0.0.1:{collector.server_port}/trace/1?"
    with pytest.raises(traces.TracesUnavailable):
        traces.recent(5)
