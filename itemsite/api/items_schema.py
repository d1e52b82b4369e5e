"""OpenAPI of the items API, for drf-spectacular; imported by ``itemsite/urls.py``."""

from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerFieldExtension, OpenApiViewExtension
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_serializer,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import serializers

from cachelayer.contrib import openapi as cache
from cachelayer.contrib.openapi import error
from items import pagination
from items.exceptions import LengthRequired
from items.serializers import ItemSerializer
from itemsite.api.exceptions import BodyTooLarge, Conflict

SAMPLE: Final = "550e8400-e29b-41d4-a716-446655440001"
_ITEM: Final = {
    "id": SAMPLE,
    "name": "Tea",
    "description": "Green.",
    "price": 42.99,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:05.678901Z",
}
_BODY: Final = {"name": "Tea", "description": "Green.", "price": 42.99}


#: What Python calls white space, for a class of characters.
_STRIPPED: Final = (
    r"\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)


class TextDocs(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """No NUL; and a name has more than white space."""

    target_class = "items.serializers.TextField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "maxLength": self.target.max_length}
        if direction == "response":
            return schema
        if self.target.allow_blank:
            return {**schema, "pattern": r"^[^\u0000]*$"}
        visible = rf"[^\u0000{_STRIPPED}]"
        return {**schema, "minLength": 1, "pattern": rf"^[^\u0000]*{visible}[^\u0000]*$"}


class PriceDocs(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """A number with two decimals at most."""

    target_class = "items.serializers.PriceField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        schema = {"type": "number", "minimum": 0, "maximum": 99999999.99, "format": "double"}
        # Not of answers: as doubles, 42.99 is not a multiple of 0.01.
        return schema if direction == "response" else {**schema, "multipleOf": 0.01}


_FIELD_ERRORS: Final = inline_serializer(
    "BodyError",
    {
        "detail": serializers.CharField(help_text="A sentence that says what to do."),
        "errors": serializers.DictField(
            child=serializers.ListField(child=serializers.CharField()),
            required=False,
            help_text="By field, when fields of the body are wrong.",
        ),
    },
)
_PAGE: Final = inline_serializer(
    "ItemPage",
    {
        "items": ItemSerializer(many=True),
        "count": serializers.IntegerField(
            min_value=0, max_value=pagination.MAX_LIMIT, help_text="Of this page."
        ),
        "next": serializers.URLField(allow_null=True, help_text="The next page, if there is one."),
    },
)
# It has a list in it, and is none.
extend_schema_serializer(many=False)(type(_PAGE))

_BAD_BODY: Final = OpenApiResponse(
    _FIELD_ERRORS,
    "The body, or If-Match, is not what it must be.",
    [
        OpenApiExample(
            "A field is wrong",
            {
                "detail": "price is missing: it must be a JSON number from 0 to 99999999.99 "
                "with at most two decimals, such as 42.99.",
                "errors": {
                    "price": [
                        "price is missing: it must be a JSON number from 0 to 99999999.99 with "
                        "at most two decimals, such as 42.99."
                    ]
                },
            },
        ),
        OpenApiExample(
            "No body",
            {
                "detail": "The body is empty. Send a JSON object, such as "
                '{"name": "Tea", "price": 4}.'
            },
        ),
    ],
)
_NOT_FOUND: Final = error(
    "There is no such item.", "There is no such item. GET /items lists those there are."
)
_CONFLICT: Final = error("Another write got in the way.", Conflict.default_detail)
_READS_AWAY: Final = error(
    "Postgres is away.",
    "Postgres does not answer. Try again when /health says that it is ok.",
)
_WRITES_AWAY: Final = error(
    "Postgres is away.",
    "Postgres does not answer. Read the item when /health says that it is ok, and repeat the "
    "request if the item has not changed.",
    "Postgres took too long and nothing was changed. Try again.",
)
_WRITE_ERRORS: Final = {
    409: _CONFLICT,
    429: error("More writes than WRITE_RATE allows.", "Too many writes. Wait 7 s, then go on."),
    503: _WRITES_AWAY,
}
_BODY_ERRORS: Final = {
    **_WRITE_ERRORS,
    400: _BAD_BODY,
    411: error("The body has no length.", LengthRequired.default_detail),
    413: error("The body is too large.", BodyTooLarge.default_detail),
    415: error(
        "The body is not JSON.",
        "The body must be JSON. Send it with Content-Type: application/json.",
    ),
}
_RETRY: Final = cache.retry_after([429, 503])
_ID: Final = OpenApiParameter(
    "id",
    {"type": "string", "format": "uuid"},
    OpenApiParameter.PATH,
    examples=[OpenApiExample("A sample row", SAMPLE)],
)


def _ok(description: str, code: int = 200) -> dict[int, OpenApiResponse]:
    example = OpenApiExample("An item", _ITEM, response_only=True)
    return {code: OpenApiResponse(ItemSerializer, description, [example])}


_SENT: Final = [OpenApiExample("An item to send", _BODY, request_only=True)]
_WRITE: Final[dict[str, Any]] = {"tags": ["items"], "request": ItemSerializer, "examples": _SENT}
_WRITE_PARAMETERS: Final = [_ID, cache.IF_MATCH, *cache.WRITE_HEADERS, _RETRY]


class ItemDocs(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "items.views.ItemViewSet"

    def view_replacement(self) -> type:
        class Documented(self.target_class):  # type: ignore[name-defined,misc]
            pass

        return extend_schema_view(**_OPERATIONS)(Documented)


_OPERATIONS: Final = {
    "list": extend_schema(
        operation_id="items_list",
        tags=["items"],
        summary="One page of items, newest first",
        description="A page is cached until any item changes. Follow `next` for what is older; "
        "items that are made in the meantime come before the first page.",
        parameters=[
            OpenApiParameter(
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": pagination.MAX_LIMIT,
                    "default": pagination.DEFAULT_LIMIT,
                },
                description="How many items at most.",
            ),
            OpenApiParameter("cursor", str, description="As in the URL of `next`."),
            cache.IF_NONE_MATCH,
            *cache.READ_HEADERS,
            cache.retry_after([503]),
        ],
        responses={
            200: OpenApiResponse(
                _PAGE,
                "The page.",
                [OpenApiExample("The last page", {"items": [_ITEM], "count": 1, "next": None})],
            ),
            304: OpenApiResponse(None, "The client has it already."),
            400: error("limit or cursor is wrong.", "limit must be a whole number from 1 to 100."),
            503: _READS_AWAY,
        },
    ),
    "create": extend_schema(
        operation_id="items_create",
        summary="Store a new item",
        parameters=[
            cache.header(
                "Location", [201], "The URL of the item.", type={"type": "string", "format": "uri"}
            ),
            *cache.WRITE_HEADERS,
            _RETRY,
        ],
        responses={**_ok("The item, which is in the cache already.", 201), **_BODY_ERRORS},
        **_WRITE,
    ),
    "retrieve": extend_schema(
        operation_id="items_read",
        tags=["items"],
        summary="One item, from the cache if it is there",
        description="Never older than the last acknowledged write.",
        parameters=[_ID, cache.IF_NONE_MATCH, *cache.READ_HEADERS, cache.retry_after([503])],
        responses={
            **_ok("The item."),
            304: OpenApiResponse(None, "The client has it already."),
            404: _NOT_FOUND,
            503: _READS_AWAY,
        },
    ),
    "update": extend_schema(
        operation_id="items_replace",
        summary="Replace the item; a description that is not sent becomes empty",
        parameters=_WRITE_PARAMETERS,
        responses={
            **_ok("The item, which is in the cache already."),
            **_BODY_ERRORS,
            404: _NOT_FOUND,
            412: cache.PRECONDITION_FAILED,
        },
        **_WRITE,
    ),
    "partial_update": extend_schema(
        operation_id="items_change",
        summary="Change the fields that are sent",
        parameters=_WRITE_PARAMETERS,
        responses={
            **_ok("The item, which is in the cache already."),
            **_BODY_ERRORS,
            404: _NOT_FOUND,
            412: cache.PRECONDITION_FAILED,
        },
        **_WRITE,
    ),
    "destroy": extend_schema(
        operation_id="items_delete",
        tags=["items"],
        summary="Delete the item",
        parameters=[_ID, cache.IF_MATCH, cache.server_timing([204]), _RETRY],
        responses={
            204: OpenApiResponse(None, "It is gone."),
            **_WRITE_ERRORS,
            400: error(
                "If-Match is not an ETag.",
                "If-Match is not an ETag. Send one as you received it, with its quotes, or *.",
            ),
            404: _NOT_FOUND,
            412: cache.PRECONDITION_FAILED,
        },
    ),
}
