"""The one shape of an error, and which error each exception is.

``{"detail": "<a sentence that says what to change>"}``; a body whose fields are
wrong also has ``"errors": {field: [sentences]}``.
"""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, JsonResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.views import exception_handler

from itemsite.api.exceptions import BodyTooLarge, Conflict, DatabaseAway

logger = logging.getLogger("itemsite.api.errors")

#: SQLSTATEs after which the same request can succeed at once: another
#: transaction was in the way (serialization failure, deadlock).
_TRY_AGAIN = {"40001", "40P01"}
#: The server cancelled the statement, for its timeout or a lock's.
_TOOK_TOO_LONG = {"57014", "55P03", "25P03", "25P04"}
#: Classes of SQLSTATEs that are the server's state and not the program's fault:
#: connection, resources, operator intervention, system; and a read-only server.
_AWAY = ("08", "53", "57", "58", "25006")


def answer(exc: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler: the response to *exc*, or None for a bug."""
    error = _api_exception(exc, context)
    if error is None:
        return None
    response = exception_handler(error, context)
    if response is not None:
        response.data = _body(error, context)
    return response


def respond(status: int, sentence: str, headers: dict[str, str] | None = None) -> JsonResponse:
    """An error outside REST framework."""
    return JsonResponse(_of_sentence(sentence), status=status, headers=headers)


def _api_exception(exc: Exception, context: dict[str, Any]) -> exceptions.APIException | None:
    if isinstance(exc, Http404):
        return exceptions.NotFound("There is no such item. GET /items lists those there are.")
    if isinstance(exc, RequestDataTooBig):
        return BodyTooLarge()
    if isinstance(exc, UnreadablePostError):
        return exceptions.ParseError("The body ended early. Send as much as Content-Length says.")
    if isinstance(exc, Error):
        return _of_database(exc, context)
    if isinstance(exc, exceptions.APIException):
        return exc
    return None


def _of_database(exc: Error, context: dict[str, Any]) -> exceptions.APIException | None:
    sqlstate = getattr(exc.__cause__, "sqlstate", None) or ""
    if sqlstate in _TRY_AGAIN:
        return Conflict()
    if isinstance(exc, IntegrityError):
        return Conflict("The row goes against a rule of the database. Change it and send it again.")
    if isinstance(exc, DataError):
        return exceptions.ParseError("The database cannot hold one of the values. Change it.")
    if sqlstate in _TOOK_TOO_LONG:
        logger.warning("Answered 503: %s", exc)
        return DatabaseAway("Postgres took too long and nothing was changed. Try again.")
    if sqlstate.startswith(_AWAY) or (not sqlstate and _is_broken(exc)):
        logger.warning("Answered 503: %s", exc)
        return DatabaseAway(_away(context["request"].method))
    return None


def _is_broken(exc: Error) -> bool:
    """A connection that breaks, or cannot be made, has no SQLSTATE."""
    return isinstance(exc, OperationalError | InterfaceError)


def _away(method: str) -> str:
    if method in SAFE_METHODS:
        return "Postgres does not answer. Try again when /health says that it is ok."
    # A connection that breaks during COMMIT does not say whether it came through.
    return (
        "Postgres does not answer. Read the item when /health says that it is ok, "
        "and repeat the request if the item has not changed."
    )


def _body(error: exceptions.APIException, context: dict[str, Any]) -> dict[str, Any]:
    if isinstance(error, exceptions.ValidationError):
        return _of_fields(error.detail)
    return _of_sentence(_sentence(error, context))


def _of_sentence(sentence: str) -> dict[str, Any]:
    return {"detail": sentence}


def _of_fields(detail: Any) -> dict[str, Any]:
    if not isinstance(detail, dict):
        return _of_sentence(" ".join(map(str, detail)))
    fields = {field: [str(sentence) for sentence in found] for field, found in detail.items()}
    return {"detail": " ".join(s for found in fields.values() for s in found), "errors": fields}


def _sentence(error: exceptions.APIException, context: dict[str, Any]) -> str:
    match error:
        case exceptions.UnsupportedMediaType():
            return "The body must be JSON. Send it with Content-Type: application/json."
        case exceptions.MethodNotAllowed():
            allowed = ", ".join(context["view"].allowed_methods)
            return f"{context['request'].method} is not possible here. Use {allowed}."
        case exceptions.NotAuthenticated():
            return (
                "Writing needs a login. Send the header 'Authorization: Token <your token>', "
                "or log in at /admin/."
            )
        case exceptions.Throttled():
            return f"Too many writes. Wait {getattr(error, 'wait', 1)} s, then go on."
    return str(error.detail)
