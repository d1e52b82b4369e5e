"""The repair log: what was written without a mark, as durable as the row itself.

A key goes into the table in the transaction that writes its row, and out of it
in a transaction that has deleted it from Redis before it commits.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer.redis.batches import batched
from cachelayer.representation import registry, relations

#: The Postgres channel on which the log announces new keys.
CHANNEL: Final = "cachelayer_repair"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Keys that wait, and for how long the oldest has (seconds)."""

    keys: int
    lag: float


def log(connection: BaseDatabaseWrapper, keys: Iterable[str]) -> None:
    """Note *keys* in the transaction that runs on *connection*, rows before stamps."""
    with connection.cursor() as cursor:
        for batch in batched(ordered(keys)):
            cursor.execute(
                "INSERT INTO cachelayer_repair (key) SELECT unnest(%s::text[])", [list(batch)]
            )
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def ordered(keys: Iterable[str]) -> list[str]:
    """*keys*, rows before stamps.

    1. psql writes a row; row and stamp are in the log. 2. The stamp is repaired. 3. A page is made
    under a new stamp, and takes the row from the cache, which is the old one. 4. The row is
    repaired. The page would stay.
    """
    return sorted(keys, key=lambda key: (relations.is_stamp(key.partition(":")[0]), key))


def backlog() -> Backlog:
    """What waits in the log. Raises ``DatabaseError`` or ``InterfaceError``.

    On a connection of its own: an open one would wait without end for a server
    that has been paused; for a new one there is ``connect_timeout``.
    """
    keys, lag = 0, 0.0
    for using in registry.databases():
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), coalesce(extract(epoch FROM now() - min(logged_at)), 0) "
                "FROM cachelayer_repair"
            )
            count, oldest = cursor.fetchone()
        keys, lag = keys + count, max(lag, float(oldest))
    return Backlog(keys, lag)


def has_backlog() -> bool:
    """Whether anything waits; one index look-up. Raises ``DatabaseError``."""
    for using in registry.databases():
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM cachelayer_repair)")
            if cursor.fetchone()[0]:
                return True
    return False
