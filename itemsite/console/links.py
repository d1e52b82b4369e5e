"""Where else to look, and whether it answers. Checked in the background, on no request's time."""

import http.client
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import Resolver404, resolve

from cachelayer.background_task import BackgroundTask

#: Seconds from one check to the next while somebody looks at the page.
_INTERVAL: Final = 5.0
_TIMEOUT: Final = 1.0
_TOOLS: Final = ("Jaeger", "Grafana", "Prometheus", "Locust")
_PAGES: Final = (
    ("API docs", "/api/docs"),
    ("Cache page", "/admin/cachelayer/cache/"),
    ("Admin", "/admin/"),
    ("Metrics", "/metrics"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """``checked`` is the same place as this process reaches it: in a container, another name."""

    name: str
    url: str
    checked: str


_answers: dict[str, bool] = {}


def collect() -> list[dict[str, Any]]:
    """Every link, with ``answers`` as it was when last checked; None before the first time."""
    task.wake()
    own = [{"name": name, "url": url, "answers": True} for name, url in _own()]
    return own + [
        {"name": link.name, "url": link.url, "answers": _answers.get(link.name)}
        for link in _elsewhere()
    ]


def own() -> list[dict[str, str]]:
    """The pages of this project."""
    return [{"name": name, "url": url} for name, url in _own()]


def _own() -> list[tuple[str, str]]:
    return [(name, url) for name, url in _PAGES if _is_served(url)]


def _is_served(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def _elsewhere() -> list[Link]:
    links = []
    for name in _TOOLS:
        if url := getattr(settings, f"{name.upper()}_URL"):
            checked = settings.LINK_CHECKS.get(name.lower(), url)
            links.append(Link(name, url, checked))
    if settings.JAEGER_URL and settings.TRACES_URL:
        # The lab's own collector shows traces, too, but it is not Jaeger.
        name = "Traces" if settings.JAEGER_URL == settings.TRACES_URL else "Jaeger"
        links[0] = Link(name, settings.JAEGER_URL, settings.TRACES_URL)
    return links


def _check() -> bool:
    for link in _elsewhere():
        _answers[link.name] = _does_answer(link.checked)
    return False


def _does_answer(url: str) -> bool:
    """Whether a web server is there; any status will do."""
    try:
        parts = urlsplit(url)
        https = parts.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", parts.path or "/")
            connection.getresponse()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True


task = BackgroundTask("console-links", lambda: _INTERVAL if _answers else 0.0, _check)
