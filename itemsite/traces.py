"""The traces of the last requests, asked of Jaeger or of the lab's own collector."""

import http.client
import json
from contextlib import closing
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from itemsite.environment import TracingEnvironment

#: Seconds to wait for an answer.
_TIMEOUT: Final = 2.0


class TracesUnavailable(Exception):  # noqa: N818  (as cachelayer's CacheUnavailable)
    """Traces cannot be read; the sentence says what to do."""


def recent(limit: int) -> list[dict[str, Any]]:
    """The last *limit* traces of this service, newest first, in Jaeger's JSON.

    Raises ``TracesUnavailable``.
    """
    if not settings.TRACES_URL:
        raise TracesUnavailable(
            "Nobody keeps traces here. Set TRACES_URL to where Jaeger answers queries, such as "
            "http://localhost:16686, and OTEL_EXPORTER_OTLP_ENDPOINT to where it takes traces."
        )
    return ask(settings.TRACES_URL, settings.SERVICE_NAME, limit)


def ask(url: str, service: str, limit: int) -> list[dict[str, Any]]:
    """As ``recent``, of the given place: needs no settings."""
    found = _get(url, f"/api/traces?{urlencode({'service': service, 'limit': limit})}")
    return sorted(found, key=began, reverse=True)


def sampled(tracing: TracingEnvironment) -> str:
    """Which requests are traced, for somebody who misses one; empty if all are."""
    missing = "A request that is missing was not sampled"
    if tracing.per_second:
        return (
            f"Each process traces up to {tracing.per_second} requests a second. {missing}: send "
            "it again, or set TRACES_PER_SECOND higher and start again."
        )
    if not tracing.sampler or tracing.sampler.endswith("always_on"):
        return ""
    return (
        f"OTEL_TRACES_SAMPLER={tracing.sampler} chooses what is traced. {missing}: send it again, "
        "or unset OTEL_TRACES_SAMPLER and start again."
    )


def began(trace: dict[str, Any]) -> int:
    """When its first span began, in microseconds since 1970."""
    return min((span["startTime"] for span in trace["spans"]), default=0)


def _get(url: str, path: str) -> list[dict[str, Any]]:
    parts = urlsplit(url)
    # Not urllib: a proxy in the environment is not for the neighbour.
    scheme = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(scheme(parts.netloc, timeout=_TIMEOUT)) as connection:
        try:
            connection.request("GET", f"{parts.path}{path}")
            answer = connection.getresponse()
            body = json.loads(answer.read())
            data = body["data"]
        except (OSError, http.client.HTTPException) as error:
            raise TracesUnavailable(
                f"{url} does not answer ({error}). Is Jaeger, or the lab, running?"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TracesUnavailable(
                f"{url} does not answer as Jaeger does. Check TRACES_URL."
            ) from error
    if answer.status != 200:
        raise TracesUnavailable(f"{url} refuses: {body.get('errors')}.")
    return list(data or [])
