"""What the triggers say of one statement: the message of ``sql/witness.sql``, taken apart."""

from dataclasses import dataclass
from typing import Final

import orjson

SQLSTATE: Final = "CL001"


@dataclass(frozen=True, slots=True)
class Notice:
    """One statement's writes of one table, and the transaction that they are of."""

    #: By key prefix: the primary keys as text, or ``EVERY``.
    keys: dict[str, list[str | None]]
    #: The JSON of the row, where one is left and it is small.
    row: str
    xid: int
    #: Postgres' epoch at that moment, whatever the transaction's snapshot.
    epoch: str
    isolation: str
    #: INSERT, UPDATE, DELETE or TRUNCATE.
    operation: str
    #: 1: by the statement itself, not by a trigger that it set off.
    depth: int
    table: str
    #: Fewer than 1: a float loses digits on its way out.
    digits: int = 1
    #: What SET ROLE has said; "none" where nobody has.
    role: str = "none"

    @classmethod
    def of(cls, message: str, detail: str | None, hint: str, table: str | None) -> "Notice":
        """The notice whose parts these are, as psycopg's ``Diagnostic`` names them."""
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
