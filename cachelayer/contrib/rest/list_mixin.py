"""``CachedViewMixin.list``: pages from the cache, if the view declares ``list_filters``."""

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
#: the start of this request's URLs, which that layer learns from here.
FETCHED: Final = "cachelayer.fetched"
BASE: Final = "cachelayer.base"


class _List:
    """Gives a view ``list`` only if it would have one without us, because routers check that."""

    def __get__(self, view: Any, owner: type) -> Any:
        below = visibility.below(owner)
        if not hasattr(owner, "list_keys") and not any("list" in vars(base) for base in below):
            raise AttributeError(f"{owner.__name__} has no list.")
        return CachedListMixin.answer_list if view is None else view.answer_list


class CachedListMixin(visibility.Layer):
    """The part of ``CachedViewMixin`` that answers lists."""

    #: The query parameters that select the rows of a page, besides those of pagination, search
    #: and ordering. With None, pages are not cached.
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
        # CachedViewMixin has answer_read.
        view: Any = self
        response: Response = view.answer_read(request, read)
        return response

    def _read_page(self, request: Request) -> Read | None:
        """The page; None if it cannot be cached or could not be made."""
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
        except Exception:  # The project's code may need more than the URL.
            logger.exception(
                "A page of %s could not be made from its URL alone, so it is not cached. Fix the "
                "view, or remove list_filters.",
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
            return None  # The view reads rows and keys in one statement, as of one moment.
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
