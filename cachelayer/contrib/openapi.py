"""OpenAPI for drf-spectacular: headers, errors, ``/cache/…``.

``apps.py`` imports this module only if ``drf_spectacular`` is installed; no other module needs
it. To document its ``CachedViewMixin`` views, a project uses ``READ_HEADERS``,
``WRITE_HEADERS``, ``IF_MATCH``, ``IF_NONE_MATCH`` and ``error`` from here.
"""

from typing import Any, Final

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from cachelayer.contrib.rest import PreconditionFailed
from cachelayer.contrib.rest.endpoints import CacheAway
from cachelayer.redis.gate import Mode

_ETAG: Final = r'"[0-9a-f]{24}"'
_EXAMPLE_ETAG: Final = '"5f1d3e2b8a9c4d7e6f0a1b2c"'

#: The shape of every error.
ERROR: Final = inline_serializer(
    "Error", {"detail": serializers.CharField(help_text="What went wrong, and what to do.")}
)


def error(description: str, *details: str) -> OpenApiResponse:
    """An error response; *details* are examples of its ``detail``."""
    return OpenApiResponse(
        ERROR,
        description,
        [
            OpenApiExample(str(number), {"detail": text}, summary=text, response_only=True)
            for number, text in enumerate(details, 1)
        ],
    )


def header(
    name: str, codes: list[int], description: str, *, pattern: str | None = None, **more: Any
) -> OpenApiParameter:
    """A header that every response with one of these status codes has."""
    return OpenApiParameter(
        name,
        more.pop("type", str),
        OpenApiParameter.HEADER,
        required=True,
        description=description,
        pattern=pattern,
        response=list(codes),
        **more,
    )


def server_timing(codes: list[int]) -> OpenApiParameter:
    return header(
        "Server-Timing",
        codes,
        "Milliseconds spent in Redis and in Postgres.",
        pattern=r"^redis;dur=[0-9.]+, postgres;dur=[0-9.]+$",
        examples=[OpenApiExample("A hit", "redis;dur=0.184, postgres;dur=0.000")],
    )


def _row_headers(codes: list[int]) -> list[OpenApiParameter]:
    return [
        header(
            "ETag",
            codes,
            "Two ETags are equal exactly if the bytes of the rows are.",
            pattern=f"^{_ETAG}$",
            examples=[OpenApiExample("An ETag", _EXAMPLE_ETAG)],
        ),
        header("Cache-Control", codes, "Ask before you use a copy.", enum=["no-cache"]),
        server_timing(codes),
    ]


#: For ``GET`` of one row.
READ_HEADERS: Final = [
    header(
        "X-Cache",
        [200, 304],
        "HIT: from Redis. MISS: from Postgres, now cached. BYPASS: from Postgres, past Redis.",
        enum=["HIT", "MISS", "BYPASS"],
    ),
    *_row_headers([200, 304]),
]
#: For a write that answers with the row.
WRITE_HEADERS: Final = _row_headers([200, 201])

# Without examples, because documentation pages that try requests would send them.
IF_NONE_MATCH: Final = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETags that the client has. 304 if the row's ETag is one of them, or for `*`.",
)
IF_MATCH: Final = OpenApiParameter(
    "If-Match",
    {
        "anyOf": [
            {"type": "string", "pattern": rf"^{_ETAG}(, *{_ETAG})*$"},
            {"type": "string", "enum": ["*"]},
        ]
    },
    OpenApiParameter.HEADER,
    description="Write only if the row's ETag is one of these, or, for `*`, if the row exists.",
)
PRECONDITION_FAILED: Final = error(
    "If-Match does not name the current row.", str(PreconditionFailed.default_detail)
)


def retry_after(codes: list[int]) -> OpenApiParameter:
    return header("Retry-After", codes, "Seconds.", type={"type": "integer", "minimum": 0})


GATE: Final = inline_serializer(
    "Gate",
    {
        "state": serializers.ChoiceField(
            [*(mode.value for mode in Mode), "off"],
            help_text="closed: Redis is used; settling: written, not read; open: bypassed; "
            "off: switched off in the settings.",
        ),
        "since": serializers.DateTimeField(),
        "reason": serializers.CharField(allow_blank=True, help_text="Why the gate is not closed."),
        "changes": serializers.IntegerField(min_value=0),
    },
)
REPAIR: Final = inline_serializer(
    "RepairLog",
    {
        "backlog": serializers.IntegerField(
            allow_null=True, help_text="Keys that wait; null while Postgres is away.", min_value=0
        ),
        "lag_seconds": serializers.FloatField(
            allow_null=True, help_text="How long the oldest has waited.", min_value=0
        ),
    },
)
_NULL_WITHOUT_REDIS: Final = "null while Redis is away"


def _count(what: str) -> serializers.IntegerField:
    return serializers.IntegerField(
        allow_null=True, help_text=f"{what}; {_NULL_WITHOUT_REDIS}.", min_value=0
    )


STATS: Final = inline_serializer(
    "CacheStats",
    {
        "cached_items": _count("Rows in Redis"),
        "cached_items_exact": serializers.BooleanField(
            allow_null=True, help_text=f"Whether they were counted; {_NULL_WITHOUT_REDIS}."
        ),
        "total_hits": _count("Reads answered from Redis, of all processes"),
        "total_misses": _count("Reads that filled the cache"),
        "total_bypasses": _count("Reads that bypassed the cache"),
        "hit_rate": serializers.FloatField(
            allow_null=True,
            min_value=0,
            max_value=100,
            help_text=f"Hits in percent of hits and misses; {_NULL_WITHOUT_REDIS}.",
        ),
        "redis": serializers.ChoiceField(["ok", "down", "off"]),
        "gate": GATE,
        "repair": REPAIR,
        "live_check": inline_serializer(
            "LiveCheck",
            {
                "checked": _count("Hits that were compared with Postgres"),
                "stale": _count("How many of these were stale"),
                "upper_bound": serializers.FloatField(
                    allow_null=True,
                    min_value=0,
                    max_value=1,
                    help_text="The upper bound of the share of stale hits, with 95 % confidence.",
                ),
            },
        ),
    },
)
CLEARED: Final = inline_serializer(
    "Cleared",
    {
        "status": serializers.ChoiceField(["cleared"]),
        "keys_deleted": serializers.IntegerField(min_value=0),
    },
)


class StatsDocs(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "cachelayer.contrib.rest.endpoints.StatsView"

    def view_replacement(self) -> type:
        class Documented(self.target_class):  # type: ignore[name-defined,misc]
            @extend_schema(
                operation_id="cache_stats",
                tags=["cache"],
                summary="Statistics of the cache",
                description="Counts of reads over all processes, cached rows, the gate of the "
                "process that answers, the repair log and the live check.",
                parameters=[header("Cache-Control", [200], "", enum=["no-store"])],
                responses={200: OpenApiResponse(STATS, "The statistics.")},
            )
            def get(self, request: Any) -> Any: ...

        return Documented


class ClearDocs(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "cachelayer.contrib.rest.endpoints.ClearView"

    def view_replacement(self) -> type:
        class Documented(self.target_class):  # type: ignore[name-defined,misc]
            @extend_schema(
                operation_id="cache_clear",
                tags=["cache"],
                summary="Delete every cached row",
                description="The marks of running transactions stay. The next read of each row "
                "is a miss.",
                request=None,
                parameters=[retry_after([503])],
                responses={
                    200: OpenApiResponse(CLEARED, "How many keys were deleted."),
                    503: error("Redis is away.", str(CacheAway.default_detail)),
                },
            )
            def post(self, request: Any) -> Any: ...

        return Documented
