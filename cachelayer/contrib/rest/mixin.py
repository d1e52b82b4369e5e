"""For REST framework views: rows as bytes, conditional requests, timing headers."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connections, models
from django.http import Http404
from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from cachelayer import timing
from cachelayer.contrib.rest import page_rules, request_locale, visibility
from cachelayer.contrib.rest.list_mixin import FETCHED, CachedListMixin
from cachelayer.contrib.rest.responses import JSONRowRenderer, Row, RowRenderer, RowResponse
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import reads
from cachelayer.protocol.reads import Read, read_one
from cachelayer.representation import etags, registry
from cachelayer.representation.etags import etag
from cachelayer.representation.registration import CachedModel

__all__ = ["CachedViewMixin", "PreconditionFailed", "Row", "RowRenderer", "RowResponse"]


class PreconditionFailed(APIException):
    """412: ``If-Match`` does not name the current row."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = _("The row has changed since you read it. Read it again, then try again.")
    default_code = "precondition_failed"


class CachedViewMixin(CachedListMixin):
    """For a generic view or viewset of a registered model: reads through the cache.

    The view gives the same answers to the same people as without the mixin, plus ``X-Cache``,
    ``ETag``, 304 and ``Server-Timing``. The mixin also has the pieces for conditional writes.
    """

    #: Whether everybody who passes the view's permissions may see every row. Only then can a
    #: row be answered without a query for who may see it, and below Django (``wsgi.py``).
    rows_are_public: bool = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """REST framework's ``dispatch``, measured."""
        with timing.measure() as spent:
            response: Response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        response["Server-Timing"] = spent.header()
        return response

    def get_renderers(self) -> list[Any]:
        """The view's renderers; the JSON renderer is replaced by one that takes rows."""
        renderers: list[Any] = super().get_renderers()  # type: ignore[misc]
        return [JSONRowRenderer() if type(each) is JSONRenderer else each for each in renderers]

    def perform_authentication(self, request: Request) -> None:
        """REST framework's, but skipped for a read of public rows with a session or nothing.

        A permission may still ask for the user. So such a read needs no Postgres.
        """
        is_read = request.method in SAFE_METHODS
        action = getattr(self, "action", "")
        is_public = (action == "retrieve" and self._is_public()) or (
            action == "list" and not page_rules.not_listed(self)
        )
        if not (is_read and is_public and visibility.has_only_session(self, request)):
            super().perform_authentication(request)  # type: ignore[misc]

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The row that the view shows, from the cache if it is cached."""
        knows_rows = getattr(request.accepted_renderer, "renders_rows", False)
        if knows_rows and visibility.not_cached(self) is None:
            found = self._read_public(request) or self._read_shown()
            if found is not None:
                return self.answer_read(request, found)
        response = self._retrieve_without_cache(request, *args, **kwargs)
        response["X-Cache"] = "BYPASS"
        return response

    def answer_read(self, request: Request, found: Read) -> Response:
        """200 with the row, or 304 if ``If-None-Match`` names it."""
        assert found.row is not None
        response = self.row_response(found.row)
        response["X-Cache"] = found.outcome.upper()
        if etags.names(request.META.get("HTTP_IF_NONE_MATCH", ""), response["ETag"]):
            response.status_code = status.HTTP_304_NOT_MODIFIED
            response.data = None
        return response

    def row_response(
        self, row: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        """A response whose body is *row*, with its ``ETag``.

        Browsers and proxies must ask before they use a copy, because copies do not follow writes.
        """
        control = "no-cache" if self.rows_are_public else "private, no-cache"
        own = {"ETag": etag(row), "Cache-Control": control}
        return RowResponse(row, status=status, headers={**own, **(headers or {})})

    def locked(self, pk: Any) -> Any:
        """The instance, locked by SELECT … FOR UPDATE; ``Http404`` if the view hides it."""
        try:
            row = self._cached().rows().select_for_update().get(pk=pk)
        except ObjectDoesNotExist as error:
            raise Http404 from error
        if self._is_public():
            return row
        # Ask the view under the lock: the row that it decides about cannot change any more.
        queryset = self.filter_queryset(self.get_queryset())  # type: ignore[attr-defined]
        shown = _get_or_404(queryset.using(self._cached().database), {"pk": pk})
        self.check_object_permissions(self.request, shown)  # type: ignore[attr-defined]
        return shown

    def check_if_match(self, request: Request, instance: models.Model) -> None:
        """Raise ``PreconditionFailed`` if ``If-Match`` is sent and does not name *instance*'s row.

        Raises ``ParseError`` for a header without an ETag: a client that asked for a conditional
        write must not get an unconditional one.

        The caller must hold the row's lock, or the row could change between the check and the
        write.
        """
        header = request.headers.get("If-Match")
        if header is None:
            return
        wanted = parse_etags(header)
        if not wanted:
            raise ParseError(
                _("If-Match is not an ETag. Send one as you received it, with its quotes, or *.")
            )
        if wanted != ["*"] and etag(self._cached().render_loading(instance)) not in wanted:
            raise PreconditionFailed

    def _is_public(self) -> bool:
        """Whether everybody may see every row: the view says so, and nothing contradicts it."""
        return (
            self.rows_are_public
            and visibility.not_public(self) is None
            and not (self.request.META.get("QUERY_STRING") and visibility.has_filters(self))  # type: ignore[attr-defined]
            and not visibility.asks_for_object(self)
        )

    def _read_public(self, request: Request) -> Read | None:
        """The row that the URL names; None unless everybody may see it."""
        looked_for = self._lookup()
        if not looked_for or not self._is_public():
            return None
        shown = visibility.shown_by(self, self._model())
        if shown is None or request_locale.shows_otherwise(shown):
            return None
        cached = visibility.read_by_column(self, shown)
        if cached is None or not visibility.is_in_context(self, shown):
            return None
        # What the layer below Django, if in use, has just found under the key.
        fetched = request.META.get(FETCHED)
        [pk] = looked_for.values()
        if isinstance(pk, str) and "\0" in pk:
            return None  # Postgres raises an error for NUL in text; let the view meet it.
        try:
            found = read_one(cached, pk, fetched)
        except ValidationError:
            pass  # No row has such an id.
        else:
            if found.row is not None:
                return found
        _get_or_404(self.queryset.none(), looked_for)  # type: ignore[attr-defined]
        raise Http404

    def _read_shown(self) -> Read | None:
        """The row that the view decides to show; None if the cache cannot give its bytes.

        If the cache holds the same bytes before and after the view's decision, the decision was
        about these bytes. The same is true of bytes between two equal decisions. Any other bytes
        might be a version of the row that the view has never shown.
        """
        cached = visibility.shown_by(self, self._model())
        if cached is None or not visibility.is_in_context(self, cached):
            return None
        if request_locale.shows_otherwise(cached):
            return None
        if not _sees_commits(cached.database):
            return self._render_shown(cached)
        try:
            before = self._fetch(cached)
        except CacheUnavailable:
            reads.note_bypass(cached)
            return self._render_shown(cached)
        pk = self._decide(cached)
        if pk is None:
            return None
        found = read_one(cached, pk)
        if found.row is not None and found.outcome != "bypass":
            is_same = before == (cached.key(pk), found.row)
            if is_same or self._decide(cached) == pk:
                return found
        return self._render_shown(cached)

    def _fetch(self, cached: CachedModel) -> tuple[str, bytes | None] | None:
        """The key that the URL names, and what Redis holds under it."""
        looked_for = self._lookup()
        if not looked_for or not visibility.is_read_by_key(self, cached):
            return None
        try:
            key = cached.key(cached.to_python(*looked_for.values()))
        except ValidationError:
            return None  # No row has such an id; the view will answer 404.
        return key, reads.fetch(key)

    def _decide(self, cached: CachedModel) -> Any:
        """The primary key of the row that the view shows; raises what the view raises.

        None if the view does not show a row from the database that the cache follows.
        """
        if visibility.asks_for_object(self):
            shown = self.get_object()  # type: ignore[attr-defined]
            return shown.pk if _is_row(shown, cached) else None
        looked_for = self._lookup()
        queryset = self.filter_queryset(self.get_queryset())  # type: ignore[attr-defined]
        if not looked_for or not visibility.is_plain(queryset, cached):
            return None
        keys = queryset.using(cached.database).prefetch_related(None).values_list("pk", flat=True)
        return _get_or_404(keys, looked_for)

    def _render_shown(self, cached: CachedModel) -> Read | None:
        """The view's own instance of the row, rendered."""
        shown = self.get_object()  # type: ignore[attr-defined]
        return Read("bypass", cached.render_loading(shown)) if _is_row(shown, cached) else None

    def _retrieve_without_cache(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        plain = getattr(super(), "retrieve", None)
        if plain is None:
            return RetrieveModelMixin.retrieve(self, request, *args, **kwargs)  # type: ignore[arg-type]
        return plain(request, *args, **kwargs)  # type: ignore[no-any-return]

    def _lookup(self) -> dict[str, Any]:
        """What ``get_object`` looks up, as arguments of ``filter``; empty if not in the URL."""
        view: Any = self
        kwarg = view.lookup_url_kwarg or view.lookup_field
        return {view.lookup_field: view.kwargs[kwarg]} if kwarg in view.kwargs else {}

    def _cached(self) -> CachedModel:
        model = self._model()
        # A view may read and write with different serializers.
        return visibility.shown_by(self, model) or registry.get(model)

    def _model(self) -> type[models.Model]:
        model: type[models.Model] | None = visibility.model_of(self)
        return model or self.get_queryset().model  # type: ignore[attr-defined]


def _get_or_404(queryset: Any, looked_for: dict[str, Any]) -> Any:
    # Imported late: if RowRenderer is the default, REST framework's views import this module.
    from rest_framework.generics import get_object_or_404

    return get_object_or_404(queryset, **looked_for)


def _is_row(shown: Any, cached: CachedModel) -> bool:
    return (
        isinstance(shown, models.Model)
        and shown._meta.concrete_model is cached.model
        and shown._state.db == cached.database
    )


def _sees_commits(using: str) -> bool:
    """Whether each statement sees the latest commits. In REPEATABLE READ it does not."""
    connection = connections[using]
    if not connection.in_atomic_block:
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation') = 'read committed'")
        return bool(cursor.fetchone()[0])
