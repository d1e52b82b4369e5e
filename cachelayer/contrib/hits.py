"""Hits below Django: which requests they are, and which answer Django would give.

The layers copy Django's answers: the first request of each kind (same route, method, ``Host``,
``Accept``, scheme) goes through Django. If its answer is a row, later hits have the same status
and headers; only ``ETag``, ``Content-Length``, ``X-Cache`` and ``Server-Timing`` differ. So Django
still refuses hosts, redirects to HTTPS and renders pages for browsers, and no header is set in two
places.
"""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.datastructures import CaseInsensitiveMapping

from cachelayer import timing
from cachelayer.contrib import public_routes
from cachelayer.contrib.rest import pages
from cachelayer.contrib.rest.list_mixin import BASE
from cachelayer.protocol import key_values
from cachelayer.representation import etags
from cachelayer.representation.computed import VALUE

logger = logging.getLogger("cachelayer.wsgi")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]
#: Everything that Django's answer depends on, besides the row.
Kind = tuple[Any, ...]

#: With any of these, a request may differ from all others, so Django answers it.
_PERSONAL: Final = (
    *("HTTP_COOKIE", "HTTP_AUTHORIZATION", "REMOTE_USER"),
    *("HTTP_TRANSFER_ENCODING", "SCRIPT_URL", "REDIRECT_URL"),
)
#: Precedes the bytes of a page in the cache.
_PAGE: Final = VALUE + pages.WHOLE
#: What else Django's answer may depend on.
_DECISIVE: Final = ("REQUEST_METHOD", "HTTP_HOST", "HTTP_ACCEPT", "wsgi.url_scheme", "SCRIPT_NAME")
#: How many paths are remembered with their row. The URLconf takes some microseconds per look-up.
_PATHS: Final = 10_000
#: Longer paths are not remembered, because clients choose them.
_LONG: Final = 200
#: How many kinds of requests are remembered. It is bounded because clients choose ``Accept``.
_KINDS: Final = 500
_TRACE_LINK: Final = re.compile(r'(?:, )?<[^>]*>; rel="trace"$')
_OWN: Final = ("ETag", "Content-Length", "X-Cache", "Server-Timing")


class Target(NamedTuple):
    """The row or page at a path. A page's key is known only with its base URL (``on``)."""

    route: public_routes.Route
    pk: Any
    key: str

    def on(self, base: str, environ: Environ) -> "Target | None":
        """The page that *environ* requests."""
        query = environ.get("QUERY_STRING", "")
        if not base or len(query) > pages.LONGEST:
            return None
        path = environ["PATH_INFO"]
        values = (base, f"{path}?{query}" if query else path, self.route.code)
        return Target(self.route, values, self.route.cached.key(values))


class Wanted(NamedTuple):
    """What one request asks for. Without templates, Django has not answered its like yet."""

    known: "Known"
    kind: Kind
    templates: "dict[int, Template] | None"
    target: Target


class Answer(NamedTuple):
    """A hit's: how Django answers its like, and what is this row's own."""

    template: "Template"
    tag: str
    #: Empty where the client has it already.
    body: bytes
    length: int


class Hits:
    """What a layer below Django has to know. One per process; made before the URLconf."""

    def __init__(self, application: Application) -> None:
        self._django = application
        self._known: Known | None = None
        setting_changed.connect(self._forget)

    def wanted(self, environ: Environ) -> Wanted | None:
        """What *environ* asks for, if Redis may have the answer; None: only Django can answer."""
        known = self._known or self._prepare()
        target = known.target_of(environ)
        if target is None:
            return None
        kind = known.kind(environ, target.route)
        templates = known.templates.get(kind)
        if templates is not None and target.route.code:
            target = target.on(known.bases.get(kind, ""), environ)
            if target is None:
                return None
        return Wanted(known, kind, templates, target)

    def answer(self, wanted: Wanted, environ: Environ, value: bytes | None) -> Answer | None:
        """The answer to what is *wanted*, of which Redis holds *value*; None: Django answers."""
        body = body_of(value)
        if body is None or wanted.templates is None:
            return None
        tag = etags.etag(body)
        if_none_match = environ.get("HTTP_IF_NONE_MATCH")
        matches = if_none_match is not None and etags.names(if_none_match, tag)
        template = wanted.templates.get(304 if matches else 200)
        return Answer(template, tag, b"" if matches else body, len(body)) if template else None

    def by_django(
        self, wanted: Wanted | None, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Django's answer; it is remembered if it is a row, and that was *wanted*."""
        if wanted is None:
            return self._django(environ, start_response)
        said: list[Any] = []

        def note(status: str, headers: Headers, *exc_info: Any) -> Any:
            said[:] = [status, headers]
            return start_response(status, headers, *exc_info)

        response = self._django(environ, note)
        if not said or not any(name == "X-Cache" for name, _ in said[1]):
            return response
        body = _Body(response)
        if template := Template.of(said[0], _without_trace(said[1]), body.content):
            wanted.known.remember(wanted.kind, template)
            wanted.known.bases[wanted.kind] = environ.get(BASE, "")
        return body

    def _prepare(self) -> "Known":
        # Two threads may do this at once; either's result will do.
        known = self._known = Known()
        if names := public_routes.unknown_middlewares():
            logger.warning(
                "All hits go through Django: %s might answer two requests without credentials "
                "differently. If it does not, set same_for_anonymous = True in its class.",
                ", ".join(names),
            )
        return known

    def _forget(self, **kwargs: Any) -> None:
        self._known = None


def body_of(value: bytes | None) -> bytes | None:
    """The bytes of the row or page in the cached *value*; None if it holds neither."""
    if value is None or value[:1] == key_values.ROW:
        return value
    return value[len(_PAGE) :] if value.startswith(_PAGE) else None


class Known:
    """The routes, what Django's answers depend on, and the answers learned so far."""

    def __init__(self) -> None:
        self.templates: dict[Kind, dict[int, Template]] = {}
        #: The start of URLs, as learned from Django.
        self.bases: dict[Kind, str] = {}
        self._routes = public_routes.find()
        self._targets: dict[str, Target] = {}
        self._decisive = (*_DECISIVE, *_decisive_here())

    def target_of(self, environ: Environ) -> "Target | None":
        """The row, if this is a plain request for a row that anybody may read."""
        path = environ["PATH_INFO"]
        target = self._targets.get(path) or self._find(path)
        if target is None or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        if "HTTP_HOST" not in environ or any(map(environ.get, _PERSONAL)):
            return None
        if environ.get("QUERY_STRING") and not target.route.code:
            return None
        return target if environ.get("CONTENT_LENGTH", "") in ("", "0") else None

    def _find(self, path: str) -> "Target | None":
        if path[:1] != "/" or not path.isascii():
            return None
        for route in self._routes:
            if not path.startswith(route.literal, 1):
                continue
            target = None
            if route.is_of_page(path[1:]):
                target = Target(route, None, "")
            elif not route.code and (pk := route.pk(path[1:])) is not None:
                target = Target(route, pk, route.cached.key(pk))
            if target:
                if len(path) <= _LONG:
                    if len(self._targets) >= _PATHS:
                        self._targets.clear()
                    self._targets[path] = target
                return target
        return None

    def kind(self, environ: Environ, route: public_routes.Route) -> Kind:
        return (id(route), *map(environ.get, self._decisive))

    def remember(self, kind: Kind, template: "Template") -> None:
        if len(self.templates) >= _KINDS:
            self.templates.clear()
            self.bases.clear()
        self.templates.setdefault(kind, {})[int(template.status[:3])] = template


def _decisive_here() -> list[str]:
    """The headers that Django's answers depend on under the current settings."""
    names = []
    if settings.SECURE_PROXY_SSL_HEADER:
        names.append(settings.SECURE_PROXY_SSL_HEADER[0])
    if settings.USE_X_FORWARDED_HOST:
        names.append("HTTP_X_FORWARDED_HOST")
    if settings.USE_X_FORWARDED_PORT:
        names.append("HTTP_X_FORWARDED_PORT")
    if settings.DISALLOWED_USER_AGENTS:
        names.append("HTTP_USER_AGENT")
    return names


class Template:
    """Status and headers of Django's answer, with slots for the headers that a row changes."""

    __slots__ = ("_headers", "_slots", "status")

    def __init__(self, status: str, headers: Headers) -> None:
        self.status = status
        self._headers = headers
        self._slots = {name: i for i, (name, _) in enumerate(headers) if name in _OWN}

    @classmethod
    def of(cls, status: str, headers: Headers, content: bytes) -> "Template | None":
        """The template of a 200 with a row or of a 304; None for any other answer."""
        values = CaseInsensitiveMapping(headers)
        if "Set-Cookie" in values or not values.keys() >= {"ETag", "Server-Timing"}:
            return None
        is_row = status[:3] == "200" and values["ETag"] == etags.etag(content)
        is_304 = status[:3] == "304" and not content
        return cls(status, headers) if is_row or is_304 else None

    def headers(self, tag: str, length: int, spent: timing.Timing) -> Headers:
        """Django's headers, in its order, for the row with *tag* and *length*."""
        headers, slots = self._headers.copy(), self._slots
        headers[slots["ETag"]] = ("ETag", tag)
        headers[slots["X-Cache"]] = ("X-Cache", "HIT")
        headers[slots["Server-Timing"]] = ("Server-Timing", spent.header())
        if self.status[:1] == "2" and "Content-Length" in slots:
            headers[slots["Content-Length"]] = ("Content-Length", str(length))
        return headers


def _without_trace(headers: Headers) -> Headers:
    """*headers* without those that ``opentelemetry.response_headers`` has added."""
    kept = []
    for name, value in headers:
        if name == "traceresponse":
            continue
        if name == "Link":
            value = _TRACE_LINK.sub("", value)
            if not value:
                continue
        kept.append((name, value))
    return kept


class _Body:
    """The body of a response, already read, for the server to read again."""

    def __init__(self, response: Iterable[bytes]) -> None:
        self.content = b"".join(response)
        self._response = response

    def __iter__(self) -> Any:
        return iter([self.content])

    def close(self) -> None:
        if hasattr(self._response, "close"):
            self._response.close()
