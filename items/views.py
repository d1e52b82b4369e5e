"""The items API."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

import cachelayer
from cachelayer.contrib.rest import CachedViewMixin
from items import pagination
from items.exceptions import EmptyBodyError, LengthRequired
from items.models import Item
from items.serializers import ItemSerializer


class ItemViewSet(CachedViewMixin, GenericViewSet[Item]):
    """``/items`` and ``/items/{uuid}``; ``CachedViewMixin`` answers GET of both."""

    queryset = Item.objects.all()
    serializer_class = ItemSerializer
    rows_are_public = True
    list_filters = ("limit", "cursor")
    throttle_scope = "write"
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: the user is looked up when a permission asks.

        In the lab no permission asks: its console writes without a login and a CSRF token.
        """

    perform_authentication.same_for_anonymous = True  # type: ignore[attr-defined]

    def list_keys(self, items: Any) -> tuple[Sequence[uuid.UUID], dict[str, Any]]:
        """The ids on a page, and the page around its *items*; ``count`` is their number."""
        limit = pagination.limit_of(self.request)
        ids, following = pagination.page(limit, self.request.query_params.get("cursor"))
        url = following and self.request.build_absolute_uri(f"?limit={limit}&cursor={following}")
        return ids, {"items": items, "count": len(ids), "next": url}

    def create(self, request: Request) -> Response:
        """Store a new item."""
        item = self.get_serializer(data=_body(request))
        item.is_valid(raise_exception=True)
        with transaction.atomic():
            instance = item.save()
            row = cachelayer.render(instance)
        url = request.build_absolute_uri(reverse("item", args=[instance.pk]))
        return self.row_response(row, status.HTTP_201_CREATED, {"Location": url})

    def update(self, request: Request, pk: uuid.UUID, *, partial: bool = False) -> Response:
        """Replace the item; a description that is not sent becomes empty."""
        # Before the lock: a client that sends slowly must not hold it.
        body = _body(request)
        with transaction.atomic():
            item = self.locked(pk)
            self.check_if_match(request, item)
            changed = self.get_serializer(item, data=body, partial=partial)
            changed.is_valid(raise_exception=True)
            row = cachelayer.render(changed.save())
        return self.row_response(row)

    def partial_update(self, request: Request, pk: uuid.UUID) -> Response:
        """Change the fields that are sent."""
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: uuid.UUID) -> Response:
        """Delete the item."""
        with transaction.atomic():
            item = self.locked(pk)
            self.check_if_match(request, item)
            item.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def _body(request: Request) -> object:
    # REST framework takes a body without a length for an empty object.
    if not int(request.META.get("CONTENT_LENGTH") or 0):
        raise LengthRequired if "HTTP_TRANSFER_ENCODING" in request.META else EmptyBodyError
    return request.data
