"""The epoch: the number of the last reconcile, kept in Postgres.

Each reconcile takes the next number from a sequence and writes it into the Redis that it makes
trusted. Writers do not mark a Redis with another number: it was failed over and still answers, a
proxy leads to it, or it was failed back to.

The number comes from a sequence, because a table is read through the transaction's snapshot.
Suppose that a transaction under REPEATABLE READ began before the reconcile, and holds no lock that
the reconcile waits for. It would read the old epoch, mark the old Redis, and believe that its rows
are marked.

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
    """The epoch that this process last heard of; the first call asks Postgres.

    Raises ``DatabaseError`` or ``InterfaceError``.
    """
    return ask() if _known is None else _known


def held() -> str | None:
    """As ``known``; None if Postgres would have to be asked."""
    return _known


def hear(epoch: str) -> str:
    """Remember *epoch*, the current answer from Postgres."""
    global _known
    _known = epoch
    return epoch


def hear_first(using: str, epoch: str) -> None:
    """Remember the epoch of a notice if this process knows none yet.

    Otherwise a first write would ask on a second connection, and the pool may have none left. A
    known epoch is kept, because the notice's transaction may have begun before the last reconcile.
    """
    if epoch and _known is None and registry.databases() == {using}:
        hear(epoch)


def forget() -> None:
    """Forget the epoch, as in a new process."""
    global _known
    _known = None


def ask() -> str:
    """The current epoch from Postgres; raises as ``known`` does."""
    return hear(_collect(LAST))


def advance() -> str:
    """Take the next epoch. All processes see it at once, and no rollback reverts it."""
    return hear(_collect(_NEXT))


def _collect(sql: str) -> str:
    values = {}
    for using in registry.databases():
        with cursor(using) as asking:
            asking.execute(sql)
            [values[using]] = asking.fetchone()
    return text(values)


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """A cursor outside this thread's transaction; see ``ask``."""
    connection = connections[using]
    if connection.connection is None or connection.autocommit:
        with connection.cursor() as own:
            yield own
    else:
        # A separate connection, because an error must not abort this thread's transaction.
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as own:
            yield own


def text(values: Mapping[str, Any]) -> str:
    """One text for the epochs of all databases with cached rows."""
    return ",".join(str(values[using]) for using in sorted(values))


def hear_of(using: str, value: Any) -> str:
    """Remember the epoch of the database *using*; return the epoch of all databases."""
    parts = dict(zip(sorted(registry.databases()), known().split(","), strict=False))
    return hear(text({**parts, using: value}))


def of_database(epoch: str, using: str) -> str:
    """The part of *epoch* from the database *using*; "" if there is none."""
    parts = epoch.split(",")
    if len(parts) == len(connections.settings) == 1:
        return epoch  # Every write asks, and there is no need to ask each registration.
    names = sorted(registry.databases())
    return parts[names.index(using)] if len(parts) == len(names) else ""


#: What ``known`` raises while Postgres does not answer.
UNKNOWN = (DatabaseError, InterfaceError)
