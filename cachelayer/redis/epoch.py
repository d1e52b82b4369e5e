"""The epoch: which reconcile is the last, as Postgres knows it.

Each reconcile takes the next number from a sequence and writes it into the Redis that it
makes trusted. A Redis with another number is not the one that writers mark: one that was
failed over and still answers, one that a proxy leads to, one that was failed back to.

A sequence, and no table: a table is read through the transaction's snapshot. A transaction
under REPEATABLE READ that began before the reconcile, and holds no lock that it would wait
for, would read the old epoch, mark the old Redis, and believe that it is marked.

The number is a fencing token (Kleppmann, "How to do distributed locking", 2016).
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from cachelayer.representation import registry

LAST = "SELECT last_value FROM cachelayer_epoch"
_NEXT = "SELECT nextval('cachelayer_epoch')"

_known: str | None = None


def known() -> str:
    """The epoch as this process has heard it last; asks Postgres the first time.

    Raises ``DatabaseError`` or ``InterfaceError``.
    """
    return ask() if _known is None else _known


def hear(epoch: str) -> str:
    """Take note of what Postgres says now."""
    global _known
    _known = epoch
    return epoch


def hear_first(using: str, epoch: str) -> None:
    """Take note of a notice's epoch where this process has heard of none.

    Else a first write would ask on another connection, while its own is perhaps the pool's last.
    Not where one is known: a transaction may have begun before the last reconcile.
    """
    if epoch and _known is None and registry.databases() == {using}:
        hear(epoch)


def forget() -> None:
    """As in a new process."""
    global _known
    _known = None


def ask() -> str:
    """What Postgres says now; raises as ``known``."""
    return hear(_collect(LAST))


def advance() -> str:
    """The next epoch, which everybody sees at once, and no rollback takes back."""
    return hear(_collect(_NEXT))


def _collect(sql: str) -> str:
    values = {}
    for using in registry.databases():
        with _cursor(using) as cursor:
            cursor.execute(sql)
            [values[using]] = cursor.fetchone()
    return text(values)


@contextmanager
def _cursor(using: str) -> Iterator[Any]:
    connection = connections[using]
    if connection.connection is None or connection.autocommit:
        with connection.cursor() as cursor:
            yield cursor
    else:
        # An error must not end this thread's transaction.
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as cursor:
            yield cursor


def text(values: Mapping[str, Any]) -> str:
    """One text for the epochs of all databases that cached rows are written to."""
    return ",".join(str(values[using]) for using in sorted(values))


def hear_of(using: str, value: Any) -> str:
    """Take note of what the database *using* says now; answer the whole epoch."""
    parts = dict(zip(sorted(registry.databases()), known().split(","), strict=False))
    return hear(text({**parts, using: value}))


def of_database(epoch: str, using: str) -> str:
    """The part of *epoch* that the database *using* has given; "" where it has none."""
    parts = epoch.split(",")
    names = sorted(registry.databases())
    return parts[names.index(using)] if len(parts) == len(names) else ""


#: What ``known`` raises while Postgres does not answer.
UNKNOWN = (DatabaseError, InterfaceError)
