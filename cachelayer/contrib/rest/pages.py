"""Pages of a view's list, as documents of their URL.

The view makes a page with a request that has only the URL. So a page is the same for everybody,
and ``verify`` can make it again. A page depends on every row of the model. Its rows come from the
cache, so a page whose rows have changed costs one query for the keys.

Rows are read after the stamp of their table is noted. The other order could go wrong: 1. A page's
filler has a row. 2. A writer marks row and stamp, commits, pushes, and releases the stamp. 3. The
filler notes the new stamp, and fills the old row: stale.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import Http404
from django.urls import Resolver404, resolve
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_values, reads
from cachelayer.representation import (
    computed,
    declared_reads,
    fingerprint,
    neutral,
    registration,
    registry,
)
from cachelayer.representation.computed import Computed, Rows
from cachelayer.representation.loading import read_rows
from cachelayer.representation.registration import AnyModel, CachedModel

logger = logging.getLogger("cachelayer.pages")

#: Precedes the bytes of a whole page. A page of documents holds the keys of its rows instead.
WHOLE: Final = b"\n"
#: Stands in for a page's rows while the text around them is rendered.
_ROWS: Final = "cachelayer:rows:5f0c1d"
#: Longer query strings are not cached, because clients choose them.
LONGEST: Final = 500
#: How often the rows of a page are read again if one of them was deleted meanwhile.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Pages(Computed):
    """The pages of one registration's rows, by base URL, path and a hash of the view's code."""

    cached: CachedModel | None = None

    @classmethod
    def of(cls, cached: CachedModel, more: Iterable[AnyModel | str] = ()) -> "Pages":
        """Pages of the rows of *cached*; rows of *more* models filter them, too."""
        rows = [Rows(cached.model), *map(Rows, more)]
        for link in registration.links(cached):
            through: Any = link.remote_field.through
            rows.append(Rows(through))
        arguments = ("base", "path", "code")
        # The code of the rows is a part of the page's code.
        code: Any = cached.serializer
        return cls(prefix_of(cached), arguments, tuple(rows), code, cached.lifetime, cached)

    @property
    def kind(self) -> str:
        return "page"

    def pk(self, key: str) -> tuple[Any, ...]:
        """As ``Computed.pk``; ``ValueError`` also if another release's view made the page."""
        values = super(Pages, self).pk(key)
        try:
            view = view_of(*values[:2])
        except Resolver404 as error:
            raise ValueError(f"{key!r}: no view has this path.") from error
        if code_of(view) != values[2]:
            raise ValueError(f"{key!r} belongs to another release of {type(view).__name__}.")
        return values

    def compute(self, values: Sequence[Any], *, fresh: bool) -> tuple[bytes, set[str]]:
        """The page in its cached form, or ``null`` if there is no page and *fresh* is set.

        Without *fresh*, raises what the view raises.
        """
        assert self.cached
        try:
            with neutral.context():
                return _make(self.cached, view_of(*values[:2]), self.tables(), fresh=fresh)
        except (Http404, APIException):
            if not fresh:
                raise
            return key_values.NULL, set()


def prefix_of(cached: CachedModel) -> str:
    return f"{cached.prefix}.page"


def find(cached: CachedModel) -> Pages | None:
    """The registration of pages with rows of *cached*."""
    found = registry.of_prefix(prefix_of(cached))
    return found if isinstance(found, Pages) else None


def values_of(view: Any) -> tuple[str, str, str]:
    """The values that the key of the requested page is made of."""
    request = view.request
    base = request.build_absolute_uri("/")[:-1] + request.META.get("SCRIPT_NAME", "")
    query = request.META.get("QUERY_STRING", "")
    path = f"{request.path_info}?{query}" if query else request.path_info
    return base, path, code_of(view)


def code_of(view: Any) -> str:
    """A hash of the code of *view*'s class."""
    return _code_of(view.__class__)


@cache
def _code_of(view: Any) -> str:
    return fingerprint.of_function(view)


def view_of(base: str, path: str) -> Any:
    """The view at *path*, with an anonymous request; raises ``Resolver404``."""
    found, url = urlsplit(base), urlsplit(path)
    match = resolve(url.path)
    callback: Any = match.func
    if not hasattr(getattr(callback, "cls", None), "list_filters"):
        raise Resolver404({"path": path})  # The path now leads to another view.
    view = callback.cls(**getattr(callback, "initkwargs", {}))
    environ = {
        "REQUEST_METHOD": "GET",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": found.scheme,
        "HTTP_HOST": found.netloc,
        "SERVER_NAME": found.hostname,
        "SERVER_PORT": "0",
        "SCRIPT_NAME": found.path,
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "HTTP_ACCEPT": "application/json",
        "REMOTE_ADDR": "",
    }
    view.action_map = getattr(callback, "actions", None) or {"get": "list"}
    view.args, view.kwargs = match.args, match.kwargs
    view.request = view.initialize_request(WSGIRequest(environ), *match.args, **match.kwargs)
    view.format_kwarg = None
    view.headers = {}
    return view


def renderer_of(view: Any) -> Any:
    """The renderer of the view's pages."""
    return next(each for each in view.get_renderers() if getattr(each, "renders_rows", False))


def body(found: Pages, values: Sequence[Any], content: bytes) -> bytes | None:
    """The page that *content* describes; None if its rows have changed meanwhile."""
    if content[:1] == WHOLE:
        return content[1:]
    assert found.cached
    before, after, keys = orjson.loads(content)
    rows = reads.rows_of(found.cached, keys)
    with suppress(CacheUnavailable):
        # Check the page after its rows: a row that has left the page may show what no page did.
        if len(rows) == len(keys) and reads.fetch(found.key(values)) == computed.VALUE + content:
            return _joined(before.encode(), rows, after.encode())
    return None


def uncached(view: Any, cached: CachedModel) -> bytes:
    """The requested page of *view*, which has ``list_keys``."""
    return _whole(cached, view, _frame(view, cached.database), reads.rows_of)


def _joined(before: bytes, rows: Sequence[bytes], after: bytes) -> bytes:
    return b"%b[%b]%b" % (before, b",".join(rows), after)


def _make(
    cached: CachedModel, view: Any, tables: set[str], *, fresh: bool
) -> tuple[bytes, set[str]]:
    """The page in its cached form, and the tables beside *tables* that its keys were read from."""
    frame = _frame(view, cached.database)
    if cached.is_document:
        # Reads look up the rows later, because these may change while the page does not.
        content = orjson.dumps([frame.before.decode(), frame.after.decode(), frame.texts])
    else:
        content = WHOLE + _whole(cached, view, frame, _read if fresh else _verified)
    return computed.VALUE + content, frame.tables - tables - {declared_reads.CONSTANT}


def _verified(cached: CachedModel, keys: Sequence[Any]) -> list[bytes]:
    """Rows from the server that the page will be written to. Another server's may be old."""
    return reads.rows_of(cached, keys, verified=True)


def _read(cached: CachedModel, keys: Sequence[Any]) -> list[bytes]:
    found = read_rows(None, cached, keys)
    return [found[key] for key in keys if found[key] != key_values.NULL]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The keys of a page's rows, the bytes before and after them, and the tables that were read."""

    keys: list[Any]
    before: bytes
    after: bytes
    tables: set[str]

    @property
    def texts(self) -> list[str]:
        return [str(key) for key in self.keys]


def _whole(
    cached: CachedModel,
    view: Any,
    frame: _Frame,
    load: Callable[[CachedModel, Sequence[Any]], list[bytes]],
) -> bytes:
    rows = load(cached, frame.keys)
    for _ in range(_TRIES):
        if len(rows) == len(frame.keys):
            break
        # A row was deleted meanwhile.
        frame = _frame(view, cached.database)
        rows = load(cached, frame.keys)
    return _joined(frame.before, rows, frame.after)


def _frame(view: Any, using: str) -> _Frame:
    read = declared_reads.Tables()
    with connections[using].execute_wrapper(read):
        keys, data = view.list_keys(_ROWS) if hasattr(view, "list_keys") else _list_keys(view)
    context = {"view": view, "request": view.request, "response": Response(data)}
    content: bytes = renderer_of(view).render(data, "application/json", context)
    before, found, after = content.partition(f'"{_ROWS}"'.encode())
    if not found:
        raise ImproperlyConfigured(
            f"The pages of {type(view).__name__} leave out the rows, so they cannot be cached. "
            "Remove list_filters."
        )
    return _Frame(list(keys), before, after, read.named)


def _list_keys(view: Any) -> tuple[list[Any], Any]:
    """Run the view's queryset, filters and pagination on keys and ordering columns only."""
    queryset = view.filter_queryset(view.get_queryset())
    options = queryset.model._meta
    columns = {field.name for field in options.concrete_fields}
    ordering = queryset.query.order_by or options.ordering
    if get_ordering := getattr(view.paginator, "get_ordering", None):
        ordering = (*ordering, *get_ordering(view.request, queryset, view))
    names = {str(name).lstrip("-") for name in ordering if isinstance(name, str)} & columns
    rows = queryset.select_related(None).prefetch_related(None)
    found: Any = rows.values_list("pk", *sorted(names), named=True)
    page = view.paginate_queryset(found)
    if page is None:
        return [row.pk for row in found], _ROWS
    response = view.get_paginated_response(_ROWS)
    if response.headers.keys() - {"Content-Type"}:
        raise ImproperlyConfigured(
            f"{type(view.paginator).__name__} adds response headers, which a cached page cannot "
            f"have. Remove list_filters from {type(view).__name__}, so that pages are not cached."
        )
    return [row.pk for row in page], response.data
