"""The repair log: what was written without a mark, as durable as the row itself.

A key goes into the table in the transaction that writes its row, and out of it
in a transaction that has deleted it from Redis before it commits.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import epoch, incarnation, registry, relations, spans, states
from cachelayer.batches import PIPELINE, batched
from cachelayer.gate import CacheUnavailable
from cachelayer.notice import EVERY

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


@spans.background("drain")
def drain(reconciled: str | None = None) -> int:
    """Repair every key that is in the log; answer how many.

    Several may drain at a time: each waits for the others' batches, so when it
    returns, every key that was in the log when it began has been repaired.
    Memory holds one batch. *reconciled*: only on the server whose incarnation is that, and
    only while its epoch is the last; without it, on one that is trusted for the last epoch.
    Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    drained = 0
    for using in registry.databases():
        while batch := drain_batch(using, reconciled):
            drained += batch
    return drained


def drain_batch(using: str, reconciled: str | None = None) -> int:
    """Repair the oldest keys in the log of the database *using*; answer how many."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # The epoch in the same statement. Were it asked for before, another server could be
        # reconciled and filled in between, and a write be logged that is repaired in the old one.
        cursor.execute(
            "DELETE FROM cachelayer_repair WHERE id IN (SELECT id FROM cachelayer_repair "
            f"ORDER BY id LIMIT %s FOR UPDATE) RETURNING key, ({epoch.LAST})",
            [PIPELINE],
        )
        found = cursor.fetchall()
        if not found:
            return 0
        last = epoch.hear_of(using, found[0][1])
        wanted = reconciled or f"trusted {last}"
        if incarnation.epoch_in(wanted.encode()) != last:
            raise CacheUnavailable("Another reconcile has begun since.")
        keys = {key for key, _ in found}
        for batch in batched(expand(ordered(keys))):
            states.repair(batch, wanted)
    return len(keys)


def ordered(keys: Iterable[str]) -> list[str]:
    """*keys*, rows before stamps.

    1. psql writes a row; row and stamp are in the log. 2. The stamp is repaired. 3. A page is made
    under a new stamp, and takes the row from the cache, which is the old one. 4. The row is
    repaired. The page would stay.
    """
    return sorted(keys, key=lambda key: (relations.is_stamp(key.partition(":")[0]), key))


def expand(keys: Iterable[str]) -> Iterator[str]:
    """*keys* as they are in the log, in their one form; of a whole table, those that there are.

    Raises ``CacheUnavailable``.
    """
    from cachelayer import clear

    for key in keys:
        prefix, _, text = key.partition(":")
        cached = registry.model_of_prefix(prefix)
        if relations.is_stamp(prefix):
            yield key  # Also the one for every row.
        elif text == EVERY:
            yield from clear.keys([prefix])
        else:
            # The triggers write primary keys as Postgres does.
            yield from cached.keys_of_texts(prefix, [text]) if cached else [key]


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
