"""Warming: loads and fills every row that is not cached yet, under leases."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.db import Error, connections, models
from django.db.transaction import TransactionManagementError

from cachelayer import exceptions
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import documents, key_states, takeover
from cachelayer.redis.batches import batched, patiently
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.representation.plans import Serializer
from cachelayer.representation.registration import CachedModel

logger = logging.getLogger("cachelayer.warm")


def warm(
    model: type[models.Model], serializer: Serializer | None = None, by: str = ""
) -> Iterator[tuple[int, int]]:
    """Fill the rows of *model*; yield (rows seen, rows filled) after each batch.

    *serializer* renders them (default: the model's first registered serializer).

    Primary keys come through a server-side cursor, so memory does not grow with the table. Each
    batch takes its leases before it reads its rows, because rows from the cursor's old snapshot
    must not be filled. Raises ``CacheUnavailable``.
    """
    cached = registry.get(model, serializer, by)
    _refuse_transaction(cached)
    seen = filled = 0
    name = cached.lookup
    # A column for ``read_by`` may be NULL; then there is no key.
    rows = cached.rows().exclude(**{f"{name}__isnull": True}).order_by(name)
    pks = rows.values_list(name, flat=True).iterator(chunk_size=1000)
    for batch in batched(pks):
        filled += _fill_what_can_be(cached, batch)
        seen += len(batch)
        yield seen, filled


def _fill_what_can_be(cached: CachedModel, pks: Sequence[Any]) -> int:
    """Like ``fill``, for consecutive *pks*; rows that fail are left out."""
    try:
        return patiently(partial(_fill_neighbours, cached), pks)
    except (CacheUnavailable, Error, exceptions.UndeclaredRead):
        raise
    except Exception:  # The serializer failed for one of the rows.
        if len(pks) > 1:
            middle = len(pks) // 2
            return sum(_fill_what_can_be(cached, half) for half in (pks[:middle], pks[middle:]))
        logger.exception(
            "%s could not be rendered, so it is not warmed. Fix the serializer: cached rows are "
            "rendered without a request.",
            cached.key(pks[0]),
        )
        return 0


def fill(cached: CachedModel, pks: Sequence[Any]) -> int:
    """Load and fill the absent rows among *pks*; return how many."""
    _refuse_transaction(cached)
    return _fill(cached, pks, read_rows)


def _fill_neighbours(cached: CachedModel, pks: Sequence[Any]) -> int:
    """Like ``fill``, for consecutive *pks*."""
    return _fill(cached, pks, read_neighbours)


def read_neighbours(using: str | None, cached: CachedModel, pks: Sequence[Any]) -> dict[Any, bytes]:
    """Like ``read_rows``, by a range, which costs Postgres less if *pks* are most of it."""
    ends = {f"{cached.lookup}__gte": pks[0], f"{cached.lookup}__lte": pks[-1]}
    found = cached.load(cached.rows(using).order_by().filter(**ends))
    # Rows that are new in the range are not leased.
    return {pk: found.get(pk, key_states.NULL) for pk in pks}


def _fill(cached: CachedModel, pks: Sequence[Any], read: Callable[..., dict[Any, bytes]]) -> int:
    token = key_states.new_lease()
    wanted: dict[str, bytes | None] = {cached.key(pk): None for pk in pks}
    taken = takeover.lease(cached.database, wanted, token)
    leased = [pk for pk, took in zip(pks, taken, strict=True) if took]
    if not leased:
        return 0
    keys = {cached.key(pk): pk for pk in leased}
    if cached.is_query_checked:
        return len(documents.fill(cached.database, cached, keys, wanted, token)[1])
    try:
        rows = read(None, cached, leased)
    except Exception:
        documents.release(keys, token)
        raise
    return sum(key_states.fill({cached.key(pk): row for pk, row in rows.items()}, token))


def _refuse_transaction(cached: CachedModel) -> None:
    if connections[cached.database].in_atomic_block:
        raise TransactionManagementError(
            "Warming inside a transaction could cache rows that are uncommitted or outdated. Call "
            "warm() outside `transaction.atomic()`."
        )
