"""Keyset pages of items, newest first.

REST framework's ``CursorPagination`` counts rows with the same ``created_at`` by an offset: a
page skips a row when one of them is deleted, and reads all of them after a bulk insert.
"""

import uuid
from typing import Final

from django.core.signing import BadSignature, Signer
from django.db import connections, router
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from items.models import Item

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100

# SQL, because the ORM would spend more time on compiling the query than the rest of the page
# takes. Text, because 50 datetimes take as long to make as the query does.
_PAGE: Final = """
    SELECT id, created_at::text AS shown FROM items {where}
    ORDER BY created_at DESC, id DESC LIMIT %s
"""
_FIRST: Final = _PAGE.format(where="")
# Compared as a tuple, the index finds the place even among a million rows of one INSERT,
# which all have the same created_at.
_FOLLOWING: Final = _PAGE.format(where="WHERE (created_at, id) < (%s::timestamptz, %s::uuid)")
# Without a time stamp: the same page has the same URL, so that it can be cached.
_signer: Final = Signer(salt="items.cursor")


def page(limit: int, cursor: str | None) -> tuple[list[uuid.UUID], str | None]:
    """The ids of at most *limit* items after *cursor*, and the cursor of the next page, if any.

    One query, of the index alone. New items come before the first page, so no later page
    repeats or skips any. Raises ``ParseError`` when *cursor* is not one that was made here.
    """
    place = [] if cursor is None else _place(cursor)
    with connections[router.db_for_write(Item)].cursor() as database:
        database.execute(_FOLLOWING if place else _FIRST, [*place, limit + 1])
        found = database.fetchall()
    ids = [pk for pk, _ in found[:limit]]
    if len(found) <= limit:
        return ids, None
    return ids, _signer.sign_object([found[limit - 1][1], str(ids[-1])])


def limit_of(request: Request) -> int:
    """The query parameter ``limit``; ``ParseError`` unless it is 1 to 100."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise ParseError(f"limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _place(cursor: str) -> list[str]:
    """``created_at`` and the id of the last item of the page before."""
    try:
        place: list[str] = _signer.unsign_object(cursor)
    except BadSignature as error:
        raise ParseError(
            "cursor is not one that this API gave. Follow the URL in 'next', or leave it out."
        ) from error
    return place
