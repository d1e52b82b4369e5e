"""Which requests go through the instrumented handler."""

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider, sampling

from itemsite.sampling import BySampling

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def ask(monkeypatch):
    """Which handler a request gets, whether instrumentation is at work there, and its trace."""

    def seen(name):
        def application(environ, start_response):
            span = trace.get_current_span().get_span_context()
            return name, is_instrumentation_enabled(), span.trace_id

        return application

    def ask(sampler, flags=""):
        provider = TracerProvider(sampler=sampler)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        environ = {"HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-{flags}"} if flags else {}
        return BySampling(seen("traced"), seen("untraced"))(environ, None)

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
    application = BySampling(lambda *args: "traced", lambda *args: "untraced")
    assert application({}, None) == "untraced"
