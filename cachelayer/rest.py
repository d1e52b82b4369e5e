"""For REST framework views: rows as bytes, conditional requests, timing headers."""

from typing import Any, Final

import orjson
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import models
from django.http import Http404
from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.utils.encoders import JSONEncoder

from cachelayer import etags, registry, timing
from cachelayer.etags import etag
from cachelayer.reads import Read, read
from cachelayer.registry import CachedModel

#: In the WSGI environment: the ``LookedUp`` of the layer below Django's handler (``wsgi.py``).
LOOKED_UP: Final = "cachelayer.looked_up"

_encode_odd_types = JSONEncoder().default


class Row:
    """JSON bytes on their way to the client as they are."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


class RowRenderer(JSONRenderer):
    """REST framework's JSON renderer by orjson, which passes a ``Row`` through untouched."""

    # JSON is UTF-8 (RFC 8259); the parameter would only be noise.
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        if isinstance(data, Row):
            return data.json
        if data is None:
            return b""
        return orjson.dumps(data, default=_encode_odd_types, option=orjson.OPT_NON_STR_KEYS)


class PreconditionFailed(APIException):
    """412: the row is not the one that ``If-Match`` names."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = _("The row has changed since you read it. Read it again, then repeat.")
    default_code = "precondition_failed"


class CachedViewMixin:
    """For a ``GenericViewSet`` of a registered model: reads through the cache.

    Gives ``retrieve``, ``X-Cache``, ``ETag``, 304, ``Server-Timing`` and the
    pieces for conditional writes.
    """

    #: The project's own, with the one for JSON replaced by one that knows rows.
    renderer_classes: Any = [
        {JSONRenderer: RowRenderer}.get(renderer, renderer)  # type: ignore[call-overload]
        for renderer in api_settings.DEFAULT_RENDERER_CLASSES
    ]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """As REST framework's, measured."""
        with timing.measure() as spent:
            response: Response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        response["Server-Timing"] = spent.header()
        return response

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: who it is, is looked up when a permission asks.

        So a read needs no Postgres for the session of somebody who is logged in.
        """

    def retrieve(self, request: Request, pk: Any) -> Response:
        """The row, from the cache if it is there."""
        # What the layer below Django has found under the key a moment ago, if it is there.
        looked_up = request.META.get(LOOKED_UP)
        try:
            found = read(self._model(), pk, looked_up)
        except ValidationError as error:
            raise Http404 from error  # No row has such an id.
        if found.row is None:
            raise Http404
        return self.answer_read(request, found)

    def answer_read(self, request: Request, found: Read) -> Response:
        """200 with the row, or 304 when ``If-None-Match`` names it."""
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

        No browser or proxy may answer from a copy of its own without asking:
        that copy would not follow the writes.
        """
        own = {"ETag": etag(row), "Cache-Control": "no-cache"}
        return Response(Row(row), status=status, headers={**own, **(headers or {})})

    def locked(self, pk: Any) -> Any:
        """The row's instance under SELECT … FOR UPDATE; ``Http404`` when there is none."""
        try:
            return self._cached().rows().select_for_update().get(pk=pk)
        except ObjectDoesNotExist as error:
            raise Http404 from error

    def check_if_match(self, request: Request, instance: models.Model) -> None:
        """Raise ``PreconditionFailed`` unless ``If-Match`` names *instance*'s row, if it is sent.

        ``ParseError`` for a header that names nothing: a client that asked for
        care must not be answered with a blind write.

        The caller holds the row's lock: checked before it, the row could change
        between the check and the write.
        """
        header = request.headers.get("If-Match")
        if header is None:
            return
        wanted = parse_etags(header)
        if not wanted:
            raise ParseError(
                _("If-Match is not an ETag. Send one as it came, with its quotes, or *.")
            )
        if wanted != ["*"] and etag(self._cached().render(instance)) not in wanted:
            raise PreconditionFailed

    def _cached(self) -> CachedModel:
        return registry.get(self._model())

    def _model(self) -> type[models.Model]:
        model: type[models.Model] = self.queryset.model  # type: ignore[attr-defined]
        return model
