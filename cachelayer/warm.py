"""Warming: every row that is not cached yet is loaded and filled, under leases."""

from collections.abc import Iterator, Sequence

from django.db import connections, models, router
from django.db.transaction import TransactionManagementError

from cachelayer import registry, states
from cachelayer.batches import batched
from cachelayer.registry import CachedModel
from cachelayer.write import read_rows


def warm(model: type[models.Model]) -> Iterator[tuple[int, int]]:
    """Fill the rows of *model*; give (rows seen, rows filled) after each batch.

    Primary keys come through a server-side cursor, so memory does not grow with
    the table. Each batch takes its leases before it reads its rows: what the
    cursor's old snapshot saw must not be filled. Raises ``CacheUnavailable``.
    """
    cached = registry.get(model)
    _refuse_transaction(cached)
    seen = filled = 0
    pks = cached.rows().order_by().values_list("pk", flat=True).iterator(chunk_size=1000)
    for batch in batched(pks):
        filled += fill(cached, batch)
        seen += len(batch)
        yield seen, filled


def fill(cached: CachedModel, pks: Sequence[object]) -> int:
    """Load and fill those rows of *pks* that are absent; answer how many."""
    _refuse_transaction(cached)
    token = states.new_lease()
    taken = states.lease([cached.key(pk) for pk in pks], token)
    leased = [pk for pk, took in zip(pks, taken, strict=True) if took]
    if not leased:
        return 0
    rows = read_rows(None, cached, leased)
    return sum(states.fill({cached.key(pk): row for pk, row in rows.items()}, token))


def _refuse_transaction(cached: CachedModel) -> None:
    if connections[router.db_for_write(cached.model)].in_atomic_block:
        raise TransactionManagementError(
            "Warming inside a transaction could cache rows that are not committed, or no longer "
            "the last. Call warm() outside `transaction.atomic()`."
        )
