"""Where this lab's traces go: to its own collector, or to where the user says."""

from collections.abc import Mapping
from dataclasses import dataclass

from itemsite.environment import LabEnvironment
from itemsite.lab.collector import PORT, Collector
from itemsite.lab.folder import LabFolder


@dataclass(frozen=True, slots=True)
class Tracing:
    """The collector to start, if it is the lab's own, and what its servers are told."""

    collector: Collector | None
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where recent traces can be asked for; empty if nowhere."""
        return self.environment.get("TRACES_URL", "")


def tracing(folder: LabFolder, given: LabEnvironment) -> Tracing:
    """What the environment asks for; a shell that has read ``./lab env`` means the lab's own."""
    last = folder.remembered_port("collector", PORT)
    own = f"http://127.0.0.1:{last}"
    said = {**given.sampling}
    if given.service_name:
        said["OTEL_SERVICE_NAME"] = given.service_name
    traces_url = "" if given.traces_url == own else given.traces_url
    if given.tracing_disabled or traces_url or given.otlp_endpoint not in ("", own):
        return Tracing(None, {"TRACES_URL": traces_url, **said})
    collector = Collector(folder.path / "collector", folder.port_for("collector", PORT))
    jaeger = given.jaeger_url if given.jaeger_url not in ("", own) else collector.url
    return Tracing(
        collector,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "TRACES_URL": collector.url,
            "JAEGER_URL": jaeger,
            **said,
        },
    )
