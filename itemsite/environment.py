"""Everything that the environment may say, read in this one place.

Nothing else in the project looks at ``os.environ``.
"""

import json
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
#: Where docker compose publishes what the console links to.
_LAB_URLS = {
    "JAEGER_URL": "http://localhost:16686",
    "GRAFANA_URL": "http://localhost:3001",
    "PROMETHEUS_URL": "http://localhost:9090",
    "LOCUST_URL": "http://localhost:8089",
}

#: Of the traces, and in /health.
SERVICE_NAME = "api"
_NOT_TRACED = r"^https?://[^/]+/(health|metrics|static|console)(/|$)"


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings that differ from one installation to the next."""

    secret_key: str
    database_url: str
    # Whether a PgBouncer that pools transactions is in front of Postgres.
    pgbouncer: bool
    redis_url: str
    # Where Sentinels answer; the host in redis_url is then the name of their service. Empty: none.
    redis_sentinels: list[tuple[str, int]]
    # Other nodes of the Redis Cluster that redis_url names a node of. Empty: it is no cluster.
    redis_cluster: list[tuple[str, int]]
    lab: bool
    debug: bool
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    https: bool
    write_rate: str
    partition: str
    # In seconds.
    row_ttl: int
    log_level: str
    service_name: str
    # Where programs ask for recent traces (Jaeger's JSON API); empty: nowhere.
    traces_url: str
    # Where people look, in their browsers; empty: no link.
    jaeger_url: str
    grafana_url: str
    prometheus_url: str
    locust_url: str
    # Where this process reaches one of these, if not by the browser's address: in a
    # container, localhost is another machine. By the names jaeger, grafana, prometheus, locust.
    link_checks: dict[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Environment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        lab = _flag(environ, "LAB")
        hosts = _words(environ, "ALLOWED_HOSTS")
        links = {
            name: _url(environ, name) or (default if lab else "")
            for name, default in _LAB_URLS.items()
        }
        return cls(
            secret_key=_required(
                environ,
                "SECRET_KEY",
                "Set it to a long random string that only this installation knows",
            ),
            database_url=_required(
                environ,
                "DATABASE_URL",
                "Set it to postgres://user:password@host:5432/database",
            ),
            pgbouncer=_flag(environ, "PGBOUNCER"),
            redis_url=_required(environ, "REDIS_URL", "Set it to redis://host:6379/0"),
            redis_sentinels=_addresses(environ, "REDIS_SENTINELS"),
            redis_cluster=_addresses(environ, "REDIS_CLUSTER"),
            lab=lab,
            debug=_flag(environ, "DEBUG"),
            allowed_hosts=hosts or (["localhost", "127.0.0.1", "[::1]"] if lab else []),
            csrf_trusted_origins=_words(environ, "CSRF_TRUSTED_ORIGINS"),
            https=_flag(environ, "HTTPS"),
            write_rate=_rate(environ, "WRITE_RATE"),
            partition=environ.get("PARTITION", "") or "bounded",
            row_ttl=_number(environ, "ROW_TTL", 300, at_most=31_536_000),
            log_level=environ.get("LOG_LEVEL", "INFO").upper(),
            service_name=environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME,
            traces_url=_url(environ, "TRACES_URL"),
            jaeger_url=links["JAEGER_URL"],
            grafana_url=links["GRAFANA_URL"],
            prometheus_url=links["PROMETHEUS_URL"],
            locust_url=links["LOCUST_URL"],
            link_checks=_pairs(environ, "LINK_CHECKS"),
        )

    @property
    def other_redis_urls(self) -> list[str]:
        """Those of ``redis_cluster``: as ``redis_url``, at their addresses."""
        url = urlsplit(self.redis_url)
        login = url.netloc[: url.netloc.rfind("@") + 1]
        return [
            url._replace(netloc=f"{login}{host}:{port}").geturl()
            for host, port in self.redis_cluster
        ]


@dataclass(frozen=True, slots=True)
class TracingEnvironment:
    """What the standard variables of OpenTelemetry say; its SDK reads the rest itself."""

    # Whether there is anywhere to send traces to. If not, nothing is instrumented:
    # an instrumented request costs twice as much, sampled or not.
    enabled: bool
    endpoint: str
    # "http/protobuf" or "grpc".
    protocol: str
    # Requests traced a second in each process; 0: OTEL_TRACES_SAMPLER says which.
    per_second: int
    # Empty: all requests, unless there is a number a second.
    sampler: str

    @classmethod
    def read(cls, environ: MutableMapping[str, str] = os.environ) -> "TracingEnvironment":
        """Read the variables, and set those that have another default here than in the SDK."""
        # As the SDK reads it: only "true" is yes.
        disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        endpoint = _otlp(environ, "ENDPOINT")
        exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
        enabled = bool(endpoint) and not disabled and exporter != "none"
        is_lab = _flag(environ, "LAB")
        per_second = _number(
            environ, "TRACES_PER_SECOND", 10 if is_lab else 0, at_most=100_000, at_least=0
        )
        if environ.get("OTEL_TRACES_SAMPLER"):
            per_second = 0
        if enabled:
            if "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
                _default(environ, "OTEL_SERVICE_NAME", SERVICE_NAME)
            if is_lab:
                # Milliseconds; the SDK's five seconds are long for somebody who looks.
                _default(environ, "OTEL_BSP_SCHEDULE_DELAY", "300")
            elif not per_second and not environ.get("OTEL_TRACES_SAMPLER"):
                environ["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
                _default(environ, "OTEL_TRACES_SAMPLER_ARG", "0.01")
            # The stable names: db.query.text, http.request.method.
            _default(environ, "OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
            # What machines ask every few seconds would push out what people did.
            _default(environ, "OTEL_PYTHON_DJANGO_EXCLUDED_URLS", _NOT_TRACED)
        protocol = _otlp(environ, "PROTOCOL") or "http/protobuf"
        sampler = environ.get("OTEL_TRACES_SAMPLER", "")
        return cls(enabled, endpoint, protocol, per_second, sampler)


@dataclass(frozen=True, slots=True)
class WebEnvironment:
    """What gunicorn is told; see gunicorn.py."""

    bind: str
    # "asgi" or "gthread".
    worker: str
    workers: int
    threads: int
    metrics_dir: str
    # Whether another gunicorn has started this one to take its place.
    takes_over: bool

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "WebEnvironment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        return cls(
            bind=environ.get("BIND") or "127.0.0.1:8000",
            worker=_choice(environ, "WEB_WORKER", ("asgi", "gthread")),
            workers=_number(environ, "WEB_WORKERS", 2, at_most=256),
            threads=_number(environ, "WEB_THREADS", 4, at_most=256),
            # prometheus-client reads this one itself, in every worker.
            metrics_dir=_writable_folder(environ, "PROMETHEUS_MULTIPROC_DIR"),
            takes_over="GUNICORN_PID" in environ,
        )


_SAMPLING: Final = ("TRACES_PER_SECOND", "OTEL_TRACES_SAMPLER")
_OF_APPLICATION: Final = ("REDIS_SENTINELS", "REDIS_CLUSTER", "PGBOUNCER", "PARTITION", "ROW_TTL")


@dataclass(frozen=True, slots=True)
class LabEnvironment:
    """What ``./lab`` is told: where to serve, and servers to use instead of its own."""

    port: int
    database_url: str
    redis_url: str
    # Where the user's own collector takes traces, and where they can be asked for.
    otlp_endpoint: str
    traces_url: str
    jaeger_url: str
    # Empty: the usual one.
    service_name: str
    # OTEL_SDK_DISABLED: neither traces nor the lab's own collector.
    tracing_disabled: bool
    # TRACES_PER_SECOND and OTEL_TRACES_SAMPLER, where they are set: for ./lab trace.
    sampling: Mapping[str, str]
    # Requests a second of loadtest.background; 0: it does not run.
    background_rate: int
    # What else the application was told: its commands, in other shells, need it as well.
    application: Mapping[str, str]
    # When ./lab was called (Unix time): the banner counts the installation, too.
    began: float | None

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "LabEnvironment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        return cls(
            port=_number(environ, "PORT", 8000, at_most=65535),
            database_url=environ.get("DATABASE_URL", ""),
            redis_url=environ.get("REDIS_URL", ""),
            otlp_endpoint=_otlp(environ, "ENDPOINT"),
            traces_url=_url(environ, "TRACES_URL"),
            jaeger_url=_url(environ, "JAEGER_URL"),
            service_name=environ.get("OTEL_SERVICE_NAME", ""),
            tracing_disabled=environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true",
            sampling={name: environ[name] for name in _SAMPLING if environ.get(name)},
            background_rate=_number(environ, "BACKGROUND_RATE", 0, at_most=1000, at_least=0),
            application={name: environ[name] for name in _OF_APPLICATION if environ.get(name)},
            began=float(environ["LAB_BEGAN"]) if environ.get("LAB_BEGAN") else None,
        )


#: The servers of each of the test run's workers, as JSON.
WORKERS: Final = "LAB_TEST_SERVERS"


def for_child(
    changes: Mapping[str, str],
    *,
    programs: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The environment of a program that the lab starts.

    The caller's, with *changes*, and with the folders *programs* at the end of PATH.
    """
    path = os.pathsep.join([environ.get("PATH", os.defpath), *programs])
    return {**environ, "PATH": path, **changes}


def pyenv_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Where pyenv keeps its Pythons."""
    return Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def take_servers_of_worker(environ: MutableMapping[str, str] = os.environ) -> None:
    """In a worker of pytest-xdist: let DATABASE_URL and REDIS_URL be those of its own servers."""
    if worker := environ.get("PYTEST_XDIST_WORKER", ""):
        environ.update(json.loads(environ[WORKERS])[int(worker.removeprefix("gw"))])


def _otlp(environ: Mapping[str, str], name: str) -> str:
    """OTEL_EXPORTER_OTLP_*, or the same for traces only, which comes first."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := environ.get(variable, "").strip():
            return value
    return ""


def _default(environ: MutableMapping[str, str], name: str, value: str) -> None:
    """Set *name* unless it is set; for OpenTelemetry, an empty one is not."""
    if not environ.get(name):
        environ[name] = value


def _url(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip().rstrip("/")
    if value and not value.startswith(("http://", "https://")):
        raise ImproperlyConfigured(
            f"{name}={value!r} is not an address. Set it to one such as http://localhost:16686."
        )
    return value


def _number(
    environ: Mapping[str, str], name: str, default: int, *, at_most: int, at_least: int = 1
) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and at_least <= int(value) <= at_most):
        raise ImproperlyConfigured(
            f"{name}={value!r} is not valid. Set it to a whole number from {at_least} to {at_most}."
        )
    return int(value)


def _rate(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if value and not re.fullmatch(r"[1-9]\d*/(s|sec|m|min|h|hour|d|day)", value, re.ASCII):
        raise ImproperlyConfigured(
            f"The rate limit of writes is {value!r}. Set {name} to a number per second, minute, "
            "hour or day, such as 100/min, or to nothing for no limit."
        )
    return value


def _choice(environ: Mapping[str, str], name: str, known: Sequence[str]) -> str:
    """One of *known*; the first where nothing is said."""
    value = environ.get(name, "").strip() or known[0]
    if value not in known:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not known. Set it to {' or '.join(known)}."
        )
    return value


def _writable_folder(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if value and not os.access(value, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"{name}={value!r} is not a folder that this user can write to. Make it, empty, "
            "before every start, or leave the variable unset."
        )
    return value


def _required(environ: Mapping[str, str], name: str, advice: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. {advice}, or start the lab with ./lab, which makes its own."
        )
    return value


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is neither yes nor no. Set it to 1 or to 0.")


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in environ.get(name, "").split(",") if word.strip()]


def _addresses(environ: Mapping[str, str], name: str) -> list[tuple[str, int]]:
    """Words of the form ``host:port``, separated by commas."""
    found = []
    for word in _words(environ, name):
        host, colon, port = word.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit()):
            raise ImproperlyConfigured(
                f"{name} has {word!r}. Write host:port, with commas between them."
            )
        found.append((host, int(port)))
    return found


def _pairs(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Words of the form ``key=value``, separated by commas."""
    found = {}
    for word in _words(environ, name):
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ImproperlyConfigured(
                f"{name} has {word!r}. Write name=address, with commas between them."
            )
        found[key] = value
    return found
