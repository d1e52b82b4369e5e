"""The notice of the triggers about one statement: parses the message of ``witness.sql``."""

from dataclasses import dataclass
from typing import Final

import orjson

SQLSTATE: Final = "CL001"


@dataclass(frozen=True, slots=True)
class Notice:
    """One statement's writes to one table, and their transaction."""

    #: By key prefix: the primary keys as text, or ``EVERY``.
    keys: dict[str, list[str | None]]
    #: The JSON of the row, if the statement left exactly one row and it is small.
    row: str
    xid: int
    #: The epoch in Postgres at that moment, independent of the transaction's snapshot.
    epoch: str
    isolation: str
    #: INSERT, UPDATE, DELETE or TRUNCATE.
    operation: str
    #: 1: the statement itself wrote, not a trigger that it fired.
    depth: int
    table: str
    #: ``extra_float_digits``. Below 1, floats lose digits in text form.
    digits: int = 1
    #: The role from SET ROLE; "none" without one.
    role: str = "none"

    @classmethod
    def of(cls, message: str, detail: str | None, hint: str, table: str | None) -> "Notice":
        """The notice from these parts, which have the names of psycopg's ``Diagnostic``."""
        xid, epoch, isolation, operation, depth, digits, role = hint.split(",", 6)
        return cls(
            keys=orjson.loads(message),
            row=detail or "",
            xid=int(xid),
            epoch=epoch,
            isolation=isolation,
            operation=operation,
            depth=int(depth),
            table=table or "",
            digits=int(digits),
            role=role,
        )
