"""Draining the repair log: what was written without a mark is deleted from Redis."""

from collections.abc import Iterable, Iterator

from django.db import connections, transaction

from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_states, scan
from cachelayer.redis import epoch, incarnation
from cachelayer.redis.batches import PIPELINE, batched
from cachelayer.representation import registry, relations
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log


@events.background("drain")
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
        for batch in batched(expand(repair_log.ordered(keys))):
            key_states.repair(batch, wanted)
    return len(keys)


def expand(keys: Iterable[str]) -> Iterator[str]:
    """*keys* as they are in the log, in their one form; of a whole table, those that there are.

    Raises ``CacheUnavailable``.
    """
    for key in keys:
        prefix, _, text = key.partition(":")
        cached = registry.model_of_prefix(prefix)
        if relations.is_stamp(prefix):
            yield key  # Also the one for every row.
        elif text == EVERY:
            yield from scan.keys([prefix])
        else:
            # The triggers write primary keys as Postgres does.
            yield from cached.keys_of_texts(prefix, [text]) if cached else [key]
