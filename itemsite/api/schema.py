"""OpenAPI of the whole site: who may call, and the views that are not REST framework's."""

from typing import Any, Final

from django.conf import settings
from drf_spectacular.openapi import AutoSchema
from rest_framework.permissions import SAFE_METHODS

_NO_STORE: Final = {
    "required": True,
    "schema": {"type": "string", "enum": ["no-store"]},
}
_WORD: Final = {"type": "string", "enum": ["ok", "down"]}
_HEALTH: Final = {
    "type": "object",
    "required": ["status", "service", "dependencies", "cache"],
    "properties": {
        "status": {"type": "string", "enum": ["ok", "degraded"]},
        "service": {"type": "string", "enum": ["api"]},
        "dependencies": {
            "type": "object",
            "required": ["redis", "postgres"],
            "properties": {"redis": _WORD, "postgres": _WORD},
        },
        "cache": {
            "type": "object",
            "required": ["gate", "repair"],
            "properties": {
                "gate": {"$ref": "#/components/schemas/Gate"},
                "repair": {
                    "allOf": [{"$ref": "#/components/schemas/RepairLog"}],
                    "nullable": True,
                    "description": "null while Postgres is away",
                },
            },
        },
    },
}


_LIVE: Final = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "enum": ["live"]}},
    "additionalProperties": False,
}


def _health(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Health"}
    return {
        "description": description,
        "headers": {"Cache-Control": _NO_STORE},
        "content": {"application/json": {"schema": schema}},
    }


def _error(description: str, *details: str) -> dict[str, Any]:
    examples = {str(n): {"value": {"detail": text}} for n, text in enumerate(details, 1)}
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


_PLAIN_VIEWS: Final[dict[str, Any]] = {
    "/health": {
        "get": {
            "operationId": "health",
            "summary": "Whether the API and what it depends on are well",
            "tags": ["operation"],
            "responses": {
                "200": _health("Items can be read and written; degraded: without Redis."),
                "503": _health("Postgres is away; what is cached is still answered."),
            },
        }
    },
    "/health/live": {
        "get": {
            "operationId": "live",
            "summary": "Whether this process answers, whatever it depends on",
            "tags": ["operation"],
            "responses": {
                "200": {
                    "description": "It does.",
                    "headers": {"Cache-Control": _NO_STORE},
                    "content": {"application/json": {"schema": _LIVE}},
                }
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "What Prometheus asks for, of all workers",
            "tags": ["operation"],
            "responses": {
                "200": {
                    "description": "The metrics in Prometheus' text format.",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                }
            },
        }
    },
}
_TAGS: Final = [
    {"name": "items", "description": "The rows, read through the cache and written through it."},
    {"name": "cache", "description": "The cache itself."},
    {"name": "operation", "description": "For those who run it."},
]


_LOGIN_ERRORS: Final[dict[str, Any]] = {
    "401": {
        **_error(
            "Writing needs a login.",
            "Writing needs a login. Send the header 'Authorization: Token <your token>', or log "
            "in at /admin/.",
            "Invalid token.",
        ),
        "headers": {
            "WWW-Authenticate": {"required": True, "schema": {"type": "string", "enum": ["Token"]}}
        },
    },
    "403": _error("A session without its CSRF token.", "CSRF Failed: CSRF token missing."),
}


class Schema(AutoSchema):
    """Reading is free; writing needs a token or a session, except in the lab's open mode."""

    def get_auth(self) -> list[dict[str, Any]]:
        if settings.LAB or self.method in SAFE_METHODS:
            return []
        return list(super().get_auth())


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Post-processing hook: add the plain views, and what a missing login is answered with."""
    result["paths"].update(_PLAIN_VIEWS)
    result["components"]["schemas"]["Health"] = _HEALTH
    result["tags"] = _TAGS
    operations = (each for path in result["paths"].values() for each in path.values())
    for operation in operations:
        if body := operation.get("requestBody"):
            # PATCH takes an object without any field, but not nothing.
            body["required"] = True
        if operation.get("security"):
            operation["responses"] = dict(
                sorted({**_LOGIN_ERRORS, **operation["responses"]}.items())
            )
    return result
