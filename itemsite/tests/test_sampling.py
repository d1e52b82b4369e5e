"""Which requests go through the instrumented handler."""

import asyncio

import pytest
from django.test import RequestFactory
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider, sampling

from cachelayer.contrib.threads import environ_of
from items.tests.sites import scope_of
from itemsite.sampling import BySampling, Django, OnLoopBySampling, PerSecond
from itemsite.server_spans import ServerSpans, _Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def of(provider):
    """The server spans of a site where nothing but the choice is looked at."""
    return ServerSpans(_Tracer(provider.get_tracer("test")), None)


@pytest.fixture
def ask(monkeypatch):
    """Which handler a request gets, whether instrumentation is at work there, and its trace."""

    def seen(name):
        def application(environ, start_response):
            span = trace.get_current_span().get_span_context()
            return name, is_instrumentation_enabled(), span.trace_id

        return application

    def ask(sampler, flags="", path="/items"):
        provider = TracerProvider(sampler=sampler)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
        if flags:
            environ["HTTP_TRACEPARENT"] = f"00-{TRACE}-{SPAN}-{flags}"
        django = Django(seen("traced"), seen("untraced"))
        return BySampling(django, of(provider))(environ, None)

    return ask


@pytest.mark.parametrize(
    ("sampler", "flags", "handler"),
    [
        (sampling.ALWAYS_ON, "", "traced"),
        (sampling.ALWAYS_OFF, "", "untraced"),
        (sampling.DEFAULT_ON, "01", "traced"),
        (sampling.DEFAULT_ON, "00", "untraced"),
        (sampling.DEFAULT_OFF, "01", "traced"),
        (sampling.DEFAULT_OFF, "", "untraced"),
    ],
)
def test_the_sampler_and_the_caller_say_which_requests_are_traced(ask, sampler, flags, handler):
    assert ask(sampler, flags)[0] == handler


def test_what_is_not_traced_is_not_instrumented(ask):
    assert ask(sampling.ALWAYS_OFF)[1:] == (False, 0)
    assert ask(sampling.ALWAYS_ON)[1]
    assert is_instrumentation_enabled(), "the request is over"


def test_what_is_not_traced_still_knows_the_trace_of_its_caller(ask):
    assert ask(sampling.DEFAULT_ON, "00") == ("untraced", False, int(TRACE, 16))
    assert not trace.get_current_span().get_span_context().is_valid, "the request is over"


def test_without_a_provider_nothing_is_traced(ask, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    django = Django(lambda *args: "traced", lambda *args: "untraced")
    assert BySampling(django, None)({}, None) == "untraced"


def test_what_machines_ask_is_not_even_sampled(ask, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", "^https?://[^/]+/health(/|$)")
    assert ask(sampling.ALWAYS_ON, path="/health")[0] == "untraced"
    assert ask(sampling.ALWAYS_ON, path="/healthy")[0] == "traced"


def test_a_rate_takes_a_persons_requests_and_of_a_load_a_share(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("itemsite.sampling.time.monotonic", lambda: now[0])
    sampler = PerSecond(10)

    def taken(count):
        asked = [sampler.should_sample(None, 1, "GET") for _ in range(count)]
        return sum(each.decision.is_sampled() for each in asked)

    assert taken(8) == 8, "a person's"
    now[0] += 1
    assert taken(1000) == 10
    now[0] += 0.5
    assert taken(1000) == 5
    now[0] += 3600
    assert taken(1000) == 10, "nothing is saved up for longer than a second"


def test_below_a_callers_span_the_caller_decides(ask):
    assert ask(sampling.ParentBased(PerSecond(0)), "01")[0] == "traced"
    assert ask(sampling.ParentBased(PerSecond(10)), "00")[0] == "untraced"


@pytest.mark.parametrize(
    ("sampler", "flags", "is_traced"),
    [
        (sampling.ALWAYS_ON, b"", True),
        (sampling.ALWAYS_OFF, b"", False),
        (sampling.DEFAULT_OFF, b"01", True),
        (sampling.DEFAULT_ON, b"00", False),
        (sampling.DEFAULT_ON, b"\xff", True),
    ],
)
def test_on_a_loop_the_same_is_chosen(monkeypatch, sampler, flags, is_traced):
    provider = TracerProvider(sampler=sampler)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    seen = []

    async def application(scope, receive, send):
        django = Django(lambda *args: seen.append(True), lambda *args: seen.append(False))
        django(environ_of(scope), None)

    headers = [(b"accept", b"*/*")]
    if flags:
        headers.append((b"traceparent", f"00-{TRACE}-{SPAN}-".encode() + flags))
    environ = RequestFactory().get("/items").environ
    scope = {**scope_of({**environ, "HTTP_HOST": "127.0.0.1"}), "headers": headers}
    asyncio.run(OnLoopBySampling(application, of(provider))(scope, None, None))
    assert seen == [is_traced]
