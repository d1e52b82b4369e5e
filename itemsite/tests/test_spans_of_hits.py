"""A sampled hit is answered below Django, and has the spans that it has through Django."""

import logging
from decimal import Decimal

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.urls import include, path
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from rest_framework import permissions, viewsets
from rest_framework.renderers import JSONRenderer

from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.contrib.threads import InThreads
from cachelayer.protocol import watchdog
from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.telemetry import counters, opentelemetry
from cachelayer.tests.bookshop.models import Novel, Person, Review, Writer
from cachelayer.tests.bookshop.serializers import NovelSerializer
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.loop import running_loop
from items.models import Item
from items.tests.sites import ID, LoopSite, Site
from itemsite import server_spans, telemetry
from itemsite.log_lines import TraceIds
from itemsite.sampling import BySampling, Django, OnLoopBySampling, Untraced

pytestmark = pytest.mark.django_db(transaction=True)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"HTTP_TRACEPARENT": f"00-{TRACE}-{PARENT}-01"}


class Novels(CachedViewMixin, viewsets.ReadOnlyModelViewSet):
    """Documents."""

    queryset = Novel.objects.order_by("title")
    serializer_class = NovelSerializer
    rows_are_public = True
    permission_classes = [permissions.AllowAny]
    authentication_classes = []
    renderer_classes = [JSONRenderer]


urlpatterns = [
    path("novels/<int:pk>", Novels.as_view({"get": "retrieve"})),
    path("", include("itemsite.urls")),
]


class Counting(sampling.Sampler):
    """Takes all requests, and counts how often it is asked about one."""

    asked = 0

    def should_sample(self, parent_context, trace_id, name, kind=None, *args, **kwargs):
        self.asked += kind is SpanKind.SERVER
        return sampling.ALWAYS_ON.should_sample(
            parent_context, trace_id, name, kind, *args, **kwargs
        )

    def get_description(self):
        return "Counting"


class Traces:
    """What has been recorded, and by whose decision."""

    def __init__(self):
        self.sampler = Counting()
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=telemetry._Requests(self.sampler), shutdown_on_exit=False
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self):
        """The spans since the last time; those that ended first come last."""
        spans = self._exporter.get_finished_spans()[::-1]
        self._exporter.clear()
        return spans


@pytest.fixture
def traces(monkeypatch):
    found = Traces()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found.provider)
    monkeypatch.setattr(opentelemetry, "_tracer", found.provider.get_tracer("cachelayer"))
    return found


@pytest.fixture
def untraced(settings):
    """Django's handler as it is before anything is instrumented."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE]
    return WSGIHandler()


@pytest.fixture
def spans(traces, untraced):
    try:
        yield server_spans.instrument()
    finally:
        DjangoInstrumentor().uninstrument()


@pytest.fixture(params=["wsgi", "asgi"])
def site(request, untraced, spans):
    """The lab's application under each kind of server; its row is cached and known."""
    Item.objects.create(id=ID, name="Tea", description="Grün, ☕.", price=Decimal("4.50"))
    with running_loop() as loop:
        site = LoopSite(loop) if request.param == "asgi" else Site()
        site.handler = Django(site.django, Untraced(untraced))
        site.layer = (OnLoopBySampling if request.param == "asgi" else BySampling)(
            site.layer, spans
        )
        yield site
        if request.param == "asgi":
            site.close()


@pytest.fixture
def novel():
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer)
    Review.objects.create(novel=novel, critic=Person.objects.create(name="Bob"))
    return f"/novels/{novel.pk}"


def through_django(site, **request):
    """What the instrumented handler answers by itself, in the server's own surroundings."""
    if not isinstance(site, LoopSite):
        return site.ask(application=site.django, **request)
    layer, site.layer = site.layer, InThreads(site.django, site._threads)
    try:
        return site.ask(**request)
    finally:
        site.layer = layer


def described(spans):
    """All of *spans* but times and ids."""
    names = {span.context.span_id: span.name for span in spans} | {int(PARENT, 16): "the caller's"}
    return [
        (
            span.name,
            span.kind,
            dict(span.attributes),
            span.status.status_code,
            [event.name for event in span.events],
            span.instrumentation_scope,
            span.parent and names[span.parent.span_id],
        )
        for span in spans
    ]


def untimed(answer):
    """*answer* without what differs from one request to the next."""
    status, headers, body = answer
    own = ("server-timing", "traceresponse", "link")
    return status, [(n, "" if n.lower() in own else v) for n, v in headers], body


CALLERS = {"nobody's": {}, "the caller's": TRACED}
REQUESTS = {
    "a row": {},
    "a row by HEAD": {"method": "HEAD"},
    "a row that the client has": {"HTTP_IF_NONE_MATCH": "*"},
    "a row that the client has, by HEAD": {"HTTP_IF_NONE_MATCH": "*", "method": "HEAD"},
    "a page": {"path": "/items?limit=5"},
    "a page by HEAD": {"path": "/items?limit=5", "method": "HEAD"},
    "a page that the client has": {"path": "/items?limit=5", "HTTP_IF_NONE_MATCH": "*"},
    "behind a proxy": {"HTTP_X_FORWARDED_FOR": "1.2.3.4", "HTTP_USER_AGENT": "curl/8"},
    "below a prefix": {"SCRIPT_NAME": "/shop"},
}
OF_DOCUMENTS = {
    "a document": {},
    "a document by HEAD": {"method": "HEAD"},
    "a document that the client has": {"HTTP_IF_NONE_MATCH": "*"},
}


def check(site, traces, request):
    assert site.is_fast(**request)
    traces.take()
    answer = through_django(site, **request)
    expected = described(traces.take())
    handed_over = site.handed_over
    assert untimed(site.ask(**request)) == untimed(answer)
    assert site.handed_over == handed_over, "Django was asked"
    assert described(traces.take()) == expected
    assert [name for name, *_ in expected][1:] == ["cache.get"]
    server = expected[0]
    assert server[1] is SpanKind.SERVER
    assert server[2]["cache.outcome"] == "hit"


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_hit_has_the_spans_that_it_has_through_django(site, traces, request_, caller):
    check(site, traces, {**request_, **caller})


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("request_", OF_DOCUMENTS.values(), ids=OF_DOCUMENTS)
def test_a_document_too(site, traces, novel, request_, caller):
    check(site, traces, {"path": novel, **request_, **caller})


def test_what_the_variables_of_opentelemetry_ask_for_is_there_too(site, traces, monkeypatch):
    for direction, name in (("REQUEST", "accept"), ("RESPONSE", "etag")):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction}", name)
    check(site, traces, {"HTTP_ACCEPT": "application/json"})
    site.ask(HTTP_ACCEPT="application/json")
    attributes = traces.take()[0].attributes
    assert attributes["http.request.header.accept"] == ("application/json",)
    assert len(attributes["http.response.header.etag"]) == 1


def test_a_span_that_is_around_the_layer_gets_the_look_up(untraced, traces):
    """What an adopter needs of a WSGI server: one middleware, and nothing of the lab."""
    Item.objects.create(id=ID, name="Tea", price=Decimal("4.50"))
    site = Site()
    site.layer = OpenTelemetryMiddleware(site.layer, tracer_provider=traces.provider)
    assert site.is_fast()
    traces.take()
    site.ask()
    server, get = traces.take()
    assert (get.name, get.parent.span_id) == ("cache.get", server.context.span_id)
    assert server.attributes["cache.outcome"] == "hit"


def test_the_answer_names_its_trace(site, traces):
    assert site.is_fast()
    traces.take()
    headers = {name.lower(): value for name, value in site.ask(**TRACED)[1]}
    server = traces.take()[0]
    assert trace.format_trace_id(server.context.trace_id) == TRACE
    assert trace.format_span_id(server.parent.span_id) == PARENT
    span_id = trace.format_span_id(server.context.span_id)
    assert headers["traceresponse"] == f"00-{TRACE}-{span_id}-01"
    assert headers["link"] == f'<http://localhost:16686/trace/{TRACE}>; rel="trace"'


def test_no_trace_is_named_by_the_next_answer(site, traces, monkeypatch):
    """The layer copies the headers of what Django answered first, and that was traced."""
    assert site.is_fast()
    traces.provider.sampler = sampling.ALWAYS_OFF
    names = {name.lower() for name, _ in site.ask()[1]}
    assert not names & {"traceresponse", "link"}


def test_the_sampler_is_asked_once(site, traces):
    requests = [{}, {"path": "/items?limit=5"}, {"path": "/items/abc"}, {"method": "OPTIONS"}]
    for request in requests * 2:
        before = traces.sampler.asked
        site.ask(**request)
        assert traces.sampler.asked == before + 1, request


def test_a_miss_has_one_server_span_and_one_look_up_below_it(site, traces):
    assert site.is_fast()
    traces.take()
    empty_redis()
    assert ("x-cache", "MISS") in [(name.lower(), value) for name, value in site.ask(**TRACED)[1]]
    server, *below = sorted(traces.take(), key=lambda span: span.start_time)
    assert server.name == "GET items/<any-case-uuid:pk>"
    assert [span.name for span in below] == ["cache.get", "cache.lease", "cache.fill"]
    assert {span.parent.span_id for span in below} == {server.context.span_id}
    assert server.end_time >= max(span.end_time for span in below)
    assert trace.format_span_id(server.parent.span_id) == PARENT
    assert below[0].attributes["cache.state"] == "absent"
    assert server.attributes["cache.outcome"] == "miss"


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"path": "/items/abc"}, "GET items/<str:text>"),
        ({"method": "OPTIONS"}, "OPTIONS items/<any-case-uuid:pk>"),
        ({"path": "/no/such/path"}, "GET"),
    ],
)
def test_what_is_no_hit_has_one_server_span_as_before(site, traces, request_, name):
    site.ask(**request_)
    through_django(site, **request_)
    traces.take()
    answer = through_django(site, **request_)
    expected = described(traces.take())
    assert untimed(site.ask(**request_)) == untimed(answer)
    found = traces.take()
    assert described(found) == expected
    assert [(span.name, span.kind) for span in found if span.parent is None] == [
        (name, SpanKind.SERVER)
    ]


def test_a_look_up_that_the_gate_refuses_is_told_once(site, traces, monkeypatch):
    assert site.is_fast()
    traces.take()
    monkeypatch.setattr(gate, "reconcile", lambda gate: None)
    gate.open(OSError("A test says so."))
    site.ask()
    server, get = traces.take()
    assert server.attributes["cache.outcome"] == "bypass"
    assert "A test says so." in get.attributes["cache.refused"]


def test_a_look_up_that_fails_is_told_besides_that_of_django(site, traces):
    """``WRONGTYPE``: somebody else's value has the key. Redis is well, so Django asks it too."""
    assert site.is_fast()
    traces.take()
    transport.client().delete(f"item:{ID}")
    transport.client().lpush(f"item:{ID}", "x")
    site.ask()
    server, *gets = traces.take()
    assert [get.name for get in gets] == ["cache.get"] * 2
    assert all("WRONGTYPE" in get.status.description for get in gets)
    assert server.attributes["cache.outcome"] == "bypass"


def test_a_host_that_django_refuses_leaves_no_span_as_before(site, traces):
    assert site.is_fast()
    traces.take()
    request = {"HTTP_HOST": "evil.example"}
    assert through_django(site, **request)[0].startswith("400")
    expected = described(traces.take())
    assert site.ask(**request)[0].startswith("400")
    assert described(traces.take()) == expected


def test_log_lines_of_a_hit_carry_its_trace(site, traces, monkeypatch, caplog):
    logger = logging.getLogger("itemsite.tests")
    monkeypatch.setattr(watchdog.task, "wake", lambda: logger.warning("In the middle of a hit."))
    assert site.is_fast()
    caplog.clear()
    caplog.handler.addFilter(TraceIds())
    site.ask(**TRACED)
    [line] = [record for record in caplog.records if record.name == "itemsite.tests"]
    assert line.trace_id == TRACE
    assert not trace.get_current_span().get_span_context().is_valid, "the request is over"


def test_a_hit_is_counted_once_by_the_cache_and_not_by_djangos_middleware(site, traces):
    def requests():
        name = "django_http_requests_before_middlewares_total"
        return REGISTRY.get_sample_value(name) or 0

    assert site.is_fast()
    before = counters.totals()["hit"], requests()
    site.ask()
    assert (counters.totals()["hit"], requests()) == (before[0] + 1, before[1])
