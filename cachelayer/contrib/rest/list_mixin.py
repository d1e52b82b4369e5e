"""``CachedViewMixin.list``: pages from the cache, where the view says what decides them."""

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from django.core.exceptions import DisallowedHost
from django.db import DatabaseError, InterfaceError
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from cachelayer.contrib.rest import page_rules, pages, request_locale, visibility
from cachelayer.contrib.rest.pages import Pages
from cachelayer.contrib.rest.responses import RowResponse
from cachelayer.exceptions import UndeclaredRead
from cachelayer.protocol import reads
from cachelayer.protocol.reads import Read

logger = logging.getLogger("cachelayer.pages")

#: In the WSGI environment: the ``Fetched`` of the layer below Django's handler (``wsgi.py``), and
#: what URLs of this request begin with, for that layer to learn.
FETCHED: Final = "cachelayer.fetched"
BASE: Final = "cachelayer.base"


class _List:
    """A view has ``list`` only where it would have it without us: routers ask for it."""

    def __get__(self, view: Any, owner: type) -> Any:
        below = visibility.below(owner)
        if not hasattr(owner, "list_keys") and not any("list" in vars(base) for base in below):
            raise AttributeError(f"{owner.__name__} has no list.")
        return CachedListMixin.answer_list if view is None else view.answer_list


class CachedListMixin(visibility.Layer):
    """The part of ``CachedViewMixin`` that answers lists."""

    #: The query parameters that decide, beside those of pagination, search and ordering, which
    #: rows a page has; None: pages are not cached.
    list_filters: Sequence[str] | None = None

    list = _List()

    def answer_list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The page that the view shows, from the cache if it is there."""
        if found := self._read_page(request):
            return self._answer(request, found)
        response = self._list_without_cache(request, *args, **kwargs)
        if self.list_filters is not None:
            response["X-Cache"] = "BYPASS"
        return response

    def _list_without_cache(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        cached = visibility.cached_of(self)
        if hasattr(self, "list_keys") and cached:
            body = pages.uncached(self, cached)
            if getattr(request.accepted_renderer, "renders_rows", False):
                return self._answer(request, Read("bypass", body))
            return RowResponse(body)
        response: Response = super().list(request, *args, **kwargs)  # type: ignore[misc]
        return response

    def _answer(self, request: Request, read: Read) -> Response:
        # Of the class that this is a part of, as ``list`` is of the view's.
        view: Any = self
        response: Response = view.answer_read(request, read)
        return response

    def _read_page(self, request: Request) -> Read | None:
        """The page; None where it is not one that can be cached, or has gone wrong."""
        model = visibility.model_of(self)
        cached = visibility.shown_by(self, model) if model else None
        found = pages.find(cached) if cached else None
        if cached is None or found is None or not self._is_page(request):
            return None
        if request_locale.shows_otherwise(cached) or not visibility.is_in_context(self, cached):
            return None
        try:
            return self._find_page(request, found)
        except (Http404, APIException, DatabaseError, InterfaceError, UndeclaredRead):
            raise
        except DisallowedHost:
            return None  # The view may need no host.
        except Exception:  # A project's code, which may need what a URL has not.
            logger.exception(
                "No page of %s could be made from its URL alone, so it is not cached. Mend that, "
                "or take list_filters away.",
                type(self).__name__,
            )
            return None

    def _find_page(self, request: Request, found: Pages) -> Read | None:
        start = time.perf_counter()
        values = pages.values_of(self)
        request.META[BASE] = values[0]
        read = reads.find_one(found, values, request.META.get(FETCHED))
        body = None
        if read and read.row is not None and read.outcome != "bypass":
            body = pages.body(found, values, read.row)
        if read is None or body is None:
            reads.note_bypass(found)
            return None  # By the view itself, in one statement: rows and keys of one moment.
        return reads.ended(found, Read(read.outcome, body), time.perf_counter() - start)

    def _is_page(self, request: Request) -> bool:
        renderer: Any = request.accepted_renderer
        if not getattr(renderer, "renders_rows", False) or "indent" in request.accepted_media_type:
            return False
        if page_rules.not_listed(self) or type(pages.renderer_of(self)) is not type(renderer):
            return False
        query = request.META.get("QUERY_STRING", "")
        known = set(page_rules.page_parameters(self))
        return len(query) <= pages.LONGEST and request.query_params.keys() <= known
