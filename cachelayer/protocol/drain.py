"""Draining the repair log: deletes keys from Redis that were written without a mark."""

from collections.abc import Iterable, Iterator

from django.db import connections, transaction

from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import drain_shards, key_states, scan
from cachelayer.redis import epoch, incarnation, shards
from cachelayer.redis.batches import PIPELINE, batched
from cachelayer.representation import registry, relations
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log


@events.background("drain")
def drain(reconciled: str | None = None, by: scan.By = scan.once) -> int:
    """Repair every key in the log; return how many.

    Several processes may drain at a time. Each waits for the others' batches, so when it returns,
    every key that was in the log when it began has been repaired. Memory holds one batch. With
    *reconciled*, repair only on the server with that incarnation, and only while its epoch is the
    last one. Without it, repair only on a server that is trusted for the last epoch. Scans go *by*
    that function. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    if shards.are_used():
        return _drain_shards()
    drained = 0
    for using in registry.databases():
        while batch := drain_batch(using, reconciled, by):
            drained += batch
    return drained


def _drain_shards() -> int:
    found = drain_shards.drain()
    if found.failed and not found.count:
        raise CacheUnavailable(
            f"Keys of {len(found.failed)} shards wait in the repair log until their nodes are back."
        )
    return found.count


def drain_batch(using: str, reconciled: str | None = None, by: scan.By = scan.once) -> int:
    """Repair the oldest keys in the log of the database *using*; return how many."""
    if shards.are_used():
        return _drain_shards()
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # Read the epoch in the same statement. If it were read before, another server could be
        # reconciled and filled in between, and a key logged after that be repaired on the old one.
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
            raise CacheUnavailable("Another reconcile has begun meanwhile.")
        keys = {key for key, _ in found}
        for batch in batched(expand(repair_log.ordered(keys), by)):
            key_states.repair(batch, wanted)
    return len(keys)


def expand(keys: Iterable[str], by: scan.By = scan.once) -> Iterator[str]:
    """The logged *keys* in canonical form; for a whole table, every key in Redis.

    Raises ``CacheUnavailable``.
    """
    for key in keys:
        prefix, _, text = key.partition(":")
        cached = registry.model_of_prefix(prefix)
        if relations.is_stamp(prefix):
            yield key  # Also the key that stands for every row.
        elif text == EVERY:
            yield from scan.keys([prefix], by=by)
        else:
            # The triggers write primary keys in Postgres's text form.
            yield from cached.keys_of_texts(prefix, [text]) if cached else [key]
