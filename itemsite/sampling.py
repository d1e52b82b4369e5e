"""Whether a request that could be answered below Django is traced: the sampler says, once."""

from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from itemsite import telemetry


class Sampling:
    """A ``cachelayer.wsgi.Sampling``."""

    def __init__(self) -> None:
        fields = propagate.get_global_textmap().fields
        self._parents = [f"HTTP_{field.upper().replace('-', '_')}" for field in fields]

    def is_sampled(self, environ: dict[str, Any]) -> bool:
        """What the sampler says of a server span with the parent that *environ* names."""
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            return False
        parent = Context()
        if any(map(environ.get, self._parents)):
            parent = propagate.extract(environ, context=parent, getter=wsgi_getter)
        trace_id = provider.id_generator.generate_trace_id()
        asked = provider.sampler.should_sample(parent, trace_id, "GET", SpanKind.SERVER)
        return bool(asked.decision.is_sampled())  # type: ignore[no-untyped-call]

    def decided(self, sampled: bool) -> AbstractContextManager[None]:
        """Server spans that begin in the block are recorded, or are not."""
        return telemetry.decided(sampled)
