"""What a key of the cache holds, told apart by its first byte.

absent        unknown
``{...}``     row: the JSON bytes that the API sends
``null``      known absent: there is no such row
``w:<token>:<xid> …`` marks, oldest first. Each belongs to a transaction that wrote this row
              and may be committing; Postgres knows by the xid whether it has ended
``r:<token>`` lease: one reader is loading this row
``d:{…}`` document: the stamps under which it was made (``stamps.py``), then bytes that were
              made from other rows, too. While the stamps are unchanged, it reads as a row,
              or as ``=`` and the bytes if a function computed them
"""

import secrets
from typing import Final

from cachelayer.representation import loading
from cachelayer.representation.computed import VALUE

NULL: Final = loading.NULL
#: The first byte of a row.
ROW: Final = b"{"
#: The start of a stored document, and of a document that is read and not valid.
INVALID: Final = b"d:"
#: Pushed in place of a row: removes the mark, so that the next reader loads the row.
INVALIDATE: Final = b""
#: The xid in a mark that belongs to no transaction, and so has ended.
NO_TRANSACTION: Final = 0
_NOT_ISSUED: Final = 2**62
#: What a key reads as whose node of a Redis Cluster cannot be used.
AWAY: Final = b"!"


def is_unavailable(value: bytes | None) -> bool:
    """Whether the node of the key cannot be used, on Redis Cluster; others' keys were read."""
    return value == AWAY


def is_known(value: bytes | None) -> bool:
    """Whether *value* answers a read: a row, ``null``, or the bytes from a function."""
    return value is not None and (value[:1] in (ROW, VALUE) or value == NULL)


def is_mark(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"w:"


def transactions(marks: bytes) -> set[int]:
    """The transactions that *marks* belong to; empty if all marks belong to repairs."""
    texts = [mark.rpartition(b":")[2] for mark in marks.split()]
    # Text that is not a number names a transaction that Postgres cannot know: it never ends.
    xids = {int(text) if text.isdigit() else _NOT_ISSUED for text in texts}
    return xids - {NO_TRANSACTION}


def is_invalid(value: bytes | None) -> bool:
    """Whether *value* is a document with a changed stamp."""
    return value is not None and value[:2] == INVALID


def is_lease(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"r:"


def name(value: bytes | None) -> str:
    """The state's name for people, such as absent, row, mark or lease."""
    if value is None:
        return "absent"
    return _NAMES.get(value[:1], "foreign")


_NAMES: Final = {
    b"{": "row",
    VALUE: "value",
    b"n": "null",
    b"w": "mark",
    b"r": "lease",
    b"d": "invalid",
    AWAY: "unavailable",
}


def new_mark(xid: int) -> bytes:
    """A new, unique mark of the transaction *xid*."""
    return b"w:%b:%d" % (secrets.token_hex(8).encode(), xid)


def new_lease() -> bytes:
    return b"r:" + secrets.token_hex(8).encode()
