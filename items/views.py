"""The items API."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

import cachelayer
from cachelayer.contrib.rest import CachedViewMixin, RowRenderer
from items import errors, pagination
from items.browsable import ItemPages
from items.exceptions import LengthRequired
from items.models import Item
from items.negotiation import JSONUnlessHTML
from items.parsers import EMPTY, BoundedJSONParser
from items.permissions import LoginToWrite
from items.serializers import ItemSerializer
from items.throttles import WriteThrottle


class ItemViewSet(CachedViewMixin, GenericViewSet[Item]):
    """``/items`` and ``/items/{uuid}``; ``CachedViewMixin`` has GET of both."""

    queryset = Item.objects.all()
    serializer_class = ItemSerializer
    rows_are_public = True
    list_filters = ("limit", "cursor")
    parser_classes = [BoundedJSONParser]
    permission_classes = [LoginToWrite]
    throttle_classes = [WriteThrottle]
    renderer_classes = [RowRenderer, ItemPages]
    content_negotiation_class = JSONUnlessHTML
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: who it is, is looked up when a permission asks.

        In the lab none does: its console writes without a login, and without a CSRF token.
        """

    perform_authentication.same_for_anonymous = True  # type: ignore[attr-defined]

    def list_keys(self, items: Any) -> tuple[Sequence[uuid.UUID], dict[str, Any]]:
        """The ids on a page, and the page around its *items*; ``count`` is their number.

        Not by REST framework's pagination: ours goes on after an item that was deleted.
        """
        limit, cursor = pagination.limit_of(self.request), pagination.cursor_of(self.request)
        page = pagination.page(limit, cursor)
        url = page.next and self.request.build_absolute_uri(f"?limit={limit}&cursor={page.next}")
        return page.ids, {"items": items, "count": len(page.ids), "next": url}

    def create(self, request: Request) -> Response:
        """Store a new item."""
        item = self.get_serializer(data=self._body(request))
        item.is_valid(raise_exception=True)
        with transaction.atomic():
            instance = item.save()
            row = cachelayer.render(instance)
        url = request.build_absolute_uri(reverse("item", args=[instance.pk]))
        return self.row_response(row, status.HTTP_201_CREATED, {"Location": url})

    def update(self, request: Request, pk: uuid.UUID) -> Response:
        """Replace the item; a description that is not sent becomes empty."""
        return self._write(request, pk, partial=False)

    def partial_update(self, request: Request, pk: uuid.UUID) -> Response:
        """Change the fields that are sent."""
        return self._write(request, pk, partial=True)

    def destroy(self, request: Request, pk: uuid.UUID) -> Response:
        """Delete the item."""
        with transaction.atomic():
            item = self.locked(pk)
            self.check_if_match(request, item)
            item.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _write(self, request: Request, pk: uuid.UUID, *, partial: bool) -> Response:
        # Before the lock: a client that sends slowly must not hold it.
        body = self._body(request)
        with transaction.atomic():
            item = self.locked(pk)
            self.check_if_match(request, item)
            changed = self.get_serializer(item, data=body, partial=partial)
            changed.is_valid(raise_exception=True)
            row = cachelayer.render(changed.save())
        return self.row_response(row)

    def _body(self, request: Request) -> object:
        # REST framework takes a body without a length for an empty object.
        if not int(request.META.get("CONTENT_LENGTH") or 0):
            if "HTTP_TRANSFER_ENCODING" in request.META:
                raise LengthRequired
            raise ParseError(EMPTY)
        return request.data


@csrf_exempt
def not_an_id(request: HttpRequest, text: str) -> JsonResponse:
    """404 for ``/items/<what is no UUID>``."""
    return errors.respond(
        status.HTTP_404_NOT_FOUND,
        "There is no such item: an id is a UUID, such as 550e8400-e29b-41d4-a716-446655440001.",
    )
