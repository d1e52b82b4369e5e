"""Keyset pages of items, newest first."""

import base64
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connections, router
from django.utils.crypto import constant_time_compare, salted_hmac
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from items.models import Item

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100

_SIGNATURE_LENGTH: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# SQL, for the ORM takes longer to put it together than all the rest of a page takes. A
# number, for to make 50 datetimes takes as long as the query.
_PAGE: Final = """
    SELECT id, (extract(epoch FROM items.created_at) * 1000000)::bigint FROM items {where}
    ORDER BY created_at DESC, id DESC LIMIT %s
"""
_FIRST: Final = _PAGE.format(where="")
# Compared as a tuple, the index finds the place even among a million rows of one INSERT,
# which all have the same created_at.
_FOLLOWING: Final = _PAGE.format(where="WHERE (created_at, id) < (%s, %s)")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last item of a page: the next page has what is older.

    As text it is base64url of the microseconds since 1970 (8 bytes), the id
    (16 bytes) and a signature (6 bytes), so that a cursor that was changed on
    its way is refused and not taken for another place.
    """

    created_at: datetime
    id: uuid.UUID

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor that *text* stands for; ``ParseError`` when it is none."""
        try:
            data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError as error:
            raise _no_cursor() from error
        place = data[:-_SIGNATURE_LENGTH]
        if not constant_time_compare(data, place + _signature(place)):
            raise _no_cursor()
        microseconds = int.from_bytes(place[:8], "big", signed=True)
        return cls(_from_microseconds(microseconds), uuid.UUID(bytes=place[8:]))

    def __str__(self) -> str:
        microseconds = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        place = microseconds.to_bytes(8, "big", signed=True) + self.id.bytes
        return base64.urlsafe_b64encode(place + _signature(place)).decode()


def _signature(place: bytes) -> bytes:
    return salted_hmac("items.cursor", place, algorithm="sha256").digest()[:_SIGNATURE_LENGTH]


def _no_cursor() -> ParseError:
    return ParseError(
        "cursor is not one that this API gave. Follow the URL in 'next', or leave it out."
    )


@dataclass(frozen=True, slots=True)
class Page:
    """The ids of one page's items, and where the next one begins (None: nowhere)."""

    ids: list[uuid.UUID]
    next: Cursor | None


def page(limit: int, after: Cursor | None) -> Page:
    """At most *limit* items that come after *after*, in one query of the index alone.

    Items that are created in the meantime come before the first page, so no
    later page repeats or skips any.
    """
    start: list[Any] = [] if after is None else [after.created_at, after.id]
    with connections[router.db_for_write(Item)].cursor() as cursor:
        cursor.execute(_FOLLOWING if start else _FIRST, [*start, limit + 1])
        found = cursor.fetchall()
    ids = [pk for pk, _ in found[:limit]]
    if len(found) <= limit:
        return Page(ids, None)
    return Page(ids, Cursor(_from_microseconds(found[limit - 1][1]), ids[-1]))


def _from_microseconds(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def limit_of(request: Request) -> int:
    """The query parameter ``limit``; ``ParseError`` unless it is 1 to 100."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise ParseError(f"limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def cursor_of(request: Request) -> Cursor | None:
    """The query parameter ``cursor``, or None; ``ParseError`` when it is malformed."""
    text = request.query_params.get("cursor")
    return None if text is None else Cursor.read(text)
