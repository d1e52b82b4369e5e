"""What each layer between the server and a view costs: Django, its middleware, REST
framework, Prometheus, OpenTelemetry; one table for all.

    ./lab test itemsite/tests/bench_layers.py
    ./lab test */tests/bench_*.py               these, single operations, and whole requests

Every handler answers the same few bytes, in this process: no server, no Redis, no Postgres.
A test is named after the layers of its handler; what one of them costs is the difference of
two medians. Read through the cache, a hit that is answered below Django passes none of them.
"""

import io

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from rest_framework.response import Response
from rest_framework.views import APIView

from itemsite.sampling import BySampling, Django

pytestmark = [
    # As in a worker that has served a request, there is a connection to look after.
    pytest.mark.django_db(transaction=True),
    pytest.mark.benchmark(group="one request, layer by layer"),
]

PROMETHEUS = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
#: Those of the site, without the two of Prometheus.
OTHERS = [name for name in settings.MIDDLEWARE if name not in PROMETHEUS]


def plain(request):
    return HttpResponse(b'{"a":1}', content_type="application/json")


class OfRestFramework(APIView):
    # As the rows of the API, nobody in particular asks for it.
    authentication_classes = []
    permission_classes = []

    def get(self, request):
        return Response({"a": 1})


urlpatterns = [path("plain", plain), path("rest", OfRestFramework.as_view())]


class Nowhere(SpanExporter):
    """Takes spans, and counts them."""

    count = 0

    def export(self, spans):
        self.count += len(spans)
        return SpanExportResult.SUCCESS


@pytest.fixture
def handler(settings):
    """Django's handler, with *middleware* and the two views above."""

    def make(middleware):
        settings.ROOT_URLCONF = __name__
        settings.MIDDLEWARE = list(middleware)
        return WSGIHandler()

    connection.ensure_connection()
    return make


@pytest.fixture
def traced(handler):
    """Django's handler with OpenTelemetry's middleware, which gives its spans to *provider*.

    The process is instrumented for no longer than it takes to make the handler.
    """

    def make(provider):
        handler([])
        DjangoInstrumentor().instrument(
            tracer_provider=provider, meter_provider=NoOpMeterProvider()
        )
        try:
            return WSGIHandler()
        finally:
            DjangoInstrumentor().uninstrument()

    return make


@pytest.fixture
def provider():
    """Of tracers with a *sampler*, and where their spans go."""
    made = []

    def make(sampler):
        spans = Nowhere()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(spans))
        made.append(provider)
        return provider, spans

    yield make
    for provider in made:
        provider.shutdown()


@pytest.fixture
def ask(benchmark):
    """Measure a request to *application*."""

    def measure(application, url="/plain"):
        environ = RequestFactory().get(url).environ | {"HTTP_HOST": "127.0.0.1:8000"}

        def once():
            said = []
            response = application(
                {**environ, "wsgi.input": io.BytesIO()}, lambda *args: said.append(args)
            )
            body = b"".join(response)
            if hasattr(response, "close"):
                response.close()
            return said[0][0], body

        assert benchmark(once) == ("200 OK", b'{"a":1}')

    return measure


def test_django(ask, handler):
    ask(handler([]))


def test_django_rest_framework(ask, handler):
    ask(handler([]), "/rest")


def test_django_prometheus(ask, handler):
    ask(handler(PROMETHEUS))


def test_django_middleware(ask, handler):
    assert len(OTHERS) == len(settings.MIDDLEWARE) - 2
    ask(handler(OTHERS))


def test_django_middleware_prometheus(ask, handler):
    ask(handler(settings.MIDDLEWARE))


def test_django_middleware_prometheus_rest_framework(ask, handler):
    ask(handler(settings.MIDDLEWARE), "/rest")


def test_django_opentelemetry_that_samples_nothing(ask, traced, provider):
    silent, spans = provider(sampling.ALWAYS_OFF)
    ask(traced(silent))
    silent.force_flush()
    assert spans.count == 0


def test_django_opentelemetry_that_samples_all(ask, traced, provider):
    recording, spans = provider(sampling.ALWAYS_ON)
    ask(traced(recording))
    recording.force_flush()
    assert spans.count > 0


def test_django_behind_the_choice_of_what_is_traced(ask, handler, traced, provider, monkeypatch):
    """``BySampling``: what is not sampled does not go through OpenTelemetry's middleware."""
    silent, spans = provider(sampling.ALWAYS_OFF)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: silent)
    ask(BySampling(Django(traced(silent), handler([])), None))
    silent.force_flush()
    assert spans.count == 0
