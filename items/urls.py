"""``/items``, without trailing slashes."""

import uuid

from django.urls import path, register_converter

from items.views import ItemViewSet


class AnyCaseUUID:
    """Django's converter of UUIDs takes lower case only."""

    regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    to_python = uuid.UUID
    to_url = str


register_converter(AnyCaseUUID, "any-case-uuid")

collection = ItemViewSet.as_view(
    {"get": "list", "post": "create"},
    name="Items",
    description="Newest first. Programs get JSON: curl needs no header for it.",
)
single = ItemViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"},
    name="Item",
    description="X-Cache says where it came from: HIT from Redis, MISS or BYPASS from Postgres.",
)

urlpatterns = [
    path("items", collection, name="items"),
    path("items/<any-case-uuid:pk>", single, name="item"),
]
