"""Warming: loads and fills every row that is not cached yet, under leases."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from functools import partial
from itertools import compress
from typing import Any

from django.db import Error, connections, models
from django.db.transaction import TransactionManagementError

from cachelayer import exceptions
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import ahead
from cachelayer.protocol import documents, key_states, key_values, takeover
from cachelayer.redis.batches import batched, patiently
from cachelayer.redis.gate import Mode, State, gate
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.representation.plans import Serializer
from cachelayer.representation.registration import CachedModel

logger = logging.getLogger("cachelayer.warm")


def warm(
    model: type[models.Model], serializer: Serializer | None = None, by: str = ""
) -> Generator[tuple[int, int], None, None]:
    """Fill the rows of *model*; yield (rows seen, rows filled) after each batch.

    *serializer* renders them (default: the model's first registered serializer). A row that a
    reader has leased is left to that reader, even if it has died; the next reader loads it then.

    Primary keys come through a server-side cursor, so memory does not grow with the table. Each
    batch takes its leases before it reads its rows, because rows from the cursor's old snapshot
    must not be filled. Two batches are begun ahead, so close the generator if you end early: that
    gives their leases back. Raises ``CacheUnavailable``.
    """
    cached = registry.get(model, serializer, by)
    _refuse_transaction(cached)
    seen = filled = 0
    name = cached.lookup
    # A column for ``read_by`` may be NULL; then there is no key.
    rows = cached.rows().exclude(**{f"{name}__isnull": True}).order_by(name)
    pks = rows.values_list(name, flat=True).iterator(chunk_size=1000)
    with closing(_fill_all(cached, batched(pks))) as batches:
        for rows_seen, rows_filled in batches:
            seen += rows_seen
            filled += rows_filled
            yield seen, filled


def _fill_all(
    cached: CachedModel, batches: Iterable[Sequence[Any]]
) -> Generator[tuple[int, int], None, None]:
    """Fill the rows of *batches*, consecutive primary keys; yield (rows, rows filled) of each."""
    if cached.is_query_checked:
        # Documents have more round trips, which depend on what is loaded.
        for pks in batches:
            yield len(pks), _fill_what_can_be(cached, pks)
        return
    with ahead.thread() as call:
        begun: deque[_Batch] = deque()

        def leased() -> Iterator[_Batch]:
            for pks in batches:
                begun.append(_Batch(cached, pks, call))
                yield begun[-1]

        def loaded() -> Iterator[_Batch]:
            for batch in ahead.one_ahead(leased()):
                batch.load()
                yield batch

        try:
            for batch in ahead.one_ahead(loaded()):
                filled = batch.filled()
                begun.popleft()
                yield len(batch.pks), filled
        finally:
            for batch in begun:
                batch.release()


class _Batch:
    """Consecutive rows on their way into the cache: leased, then loaded, then filled.

    Begins with the lease. Redis leases and fills in the second thread.
    """

    def __init__(self, cached: CachedModel, pks: Sequence[Any], call: ahead.Call) -> None:
        self.pks = pks
        self._cached, self._call = cached, call
        self._token = key_values.new_lease()
        self._keys = dict(zip(cached.keys(pks), pks, strict=True))
        self._wanted: dict[str, bytes | None] = dict.fromkeys(self._keys)
        self._leasing = call(partial(key_states.lease, self._wanted, self._token))
        self._filling: Future[list[bool]] | None = None
        self._has_failed = False
        self._gate = gate.state

    def load(self) -> None:
        """Read and render the leased rows, and begin to fill them. Raises ``DatabaseError``."""
        cached = self._cached
        try:
            tried = self._leasing.result()
            taken = takeover.lease_marked(cached.database, self._wanted, self._token, tried)
            leased = dict(compress(self._keys.items(), taken))
            if leased:
                found = read_neighbours(None, cached, list(leased.values()))
                rows = {key: found[pk] for key, pk in leased.items()}
                self._filling = self._call(partial(key_states.fill, rows, self._token))
        except Error:
            raise
        except Exception:
            # Redis missed an answer, or a row cannot be rendered, for which the project's code may
            # raise anything. ``filled`` tries again, one by one, and says which row it is.
            self.release()
            self._has_failed = True

    def filled(self) -> int:
        """How many rows were filled; a batch that failed is tried again, in this thread alone."""
        filled = 0
        with suppress(CacheUnavailable):
            if not self._has_failed:
                filled = sum(self._filling.result()) if self._filling else 0
                if not _has_missed_a_node(self._gate):
                    return filled
        return filled + _fill_what_can_be(self._cached, self.pks, self.release)

    def release(self) -> None:
        """Give back the leases that are left."""
        self._leasing.exception()  # A lease after this would stay.
        documents.release(self._keys, self._token)


def _fill_what_can_be(
    cached: CachedModel, pks: Sequence[Any], prepare: Callable[[], object] = lambda: None
) -> int:
    """Like ``fill``, for consecutive *pks*; rows that fail are left out. Each try *prepares*."""

    def fill_neighbours(pks: Sequence[Any]) -> int:
        prepare()
        return _fill(cached, pks, read_neighbours)

    try:
        return patiently(fill_neighbours, pks)
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


def read_neighbours(using: str | None, cached: CachedModel, pks: Sequence[Any]) -> dict[Any, bytes]:
    """Like ``read_rows``, by a range, which costs Postgres less if *pks* are most of it."""
    ends = {f"{cached.lookup}__gte": pks[0], f"{cached.lookup}__lte": pks[-1]}
    found = cached.load(cached.rows(using).order_by().filter(**ends))
    # Rows that are new in the range are not leased.
    return {pk: found.get(pk, key_values.NULL) for pk in pks}


def _fill(cached: CachedModel, pks: Sequence[Any], read: Callable[..., dict[Any, bytes]]) -> int:
    before = gate.state
    filled = _fill_leased(cached, pks, read)
    if _has_missed_a_node(before):
        raise CacheUnavailable("Some nodes of the Redis Cluster could not be used.")
    return filled


def _has_missed_a_node(before: State) -> bool:
    """Whether rows may be left out because their node of a Redis Cluster cannot be used.

    A reader goes without such rows. But "every row is cached" must not be said of them.
    """
    return gate.state.changes != before.changes or gate.mode is not Mode.CLOSED


def _fill_leased(
    cached: CachedModel, pks: Sequence[Any], read: Callable[..., dict[Any, bytes]]
) -> int:
    token = key_values.new_lease()
    keys = dict(zip(cached.keys(pks), pks, strict=True))
    wanted: dict[str, bytes | None] = dict.fromkeys(keys)
    taken = takeover.lease(cached.database, wanted, token)
    leased = dict(compress(keys.items(), taken))
    if not leased:
        return 0
    if cached.is_query_checked:
        return len(documents.fill(cached.database, cached, leased, wanted, token)[1])
    try:
        rows = read(None, cached, list(leased.values()))
    except Exception:
        documents.release(leased, token)
        raise
    return sum(key_states.fill({key: rows[pk] for key, pk in leased.items()}, token))


def _refuse_transaction(cached: CachedModel) -> None:
    if connections[cached.database].in_atomic_block:
        raise TransactionManagementError(
            "Warming inside a transaction could cache rows that are uncommitted or outdated. Call "
            "warm() outside `transaction.atomic()`."
        )
