"""The repair log: keys that were written without a mark, as durable as their rows.

The transaction that writes a row inserts its key into the log. Another transaction deletes the key
from Redis, then deletes it from the log and commits.
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
    """How many keys wait, and how long the oldest has waited (seconds)."""

    keys: int
    lag: float


def log(connection: BaseDatabaseWrapper, keys: Iterable[str]) -> None:
    """Log *keys* in the running transaction on *connection*, rows before stamps."""
    with connection.cursor() as cursor:
        for batch in batched(ordered(keys)):
            cursor.execute(
                "INSERT INTO cachelayer_repair (key) SELECT unnest(%s::text[])", [list(batch)]
            )
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def ordered(keys: Iterable[str]) -> list[str]:
    """*keys*, rows before stamps.

    The other order could go wrong: 1. psql writes a row; row and stamp are in the log. 2. The stamp
    is repaired. 3. A page is made under a new stamp, with the old row from the cache. 4. The row is
    repaired, but the page stays.
    """
    return sorted(keys, key=lambda key: (relations.is_stamp(key.partition(":")[0]), key))


def backlog() -> Backlog:
    """The keys that wait in the log. Raises ``DatabaseError`` or ``InterfaceError``.

    This uses a new connection, which has a ``connect_timeout``. An open connection would wait
    forever for a paused server.
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
    """Whether a key waits; one index look-up. Raises ``DatabaseError``."""
    for using in registry.databases():
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM cachelayer_repair)")
            if cursor.fetchone()[0]:
                return True
    return False
