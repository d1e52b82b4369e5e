"""Loads leased keys: rows unchanged, documents under the stamps of all rows that they show.

The stamps of a document must be noted before its rows are loaded. But only the loaded document
tells which stamps it needs. So the reader takes the stamps from the last load (the invalid
document holds them), or loads twice.

1. A book shows its author and his agency 1. He moves to agency 2, so the document is not valid.
2. A reader notes the stamps that the document names, the author's and agency 1's. It loads the
document, which now shows agency 2. 3. A writer renames agency 2, and commits. 4. If the reader
filled now, the document would be stale. But the reader has noted no stamp of agency 2, so it
begins again.
"""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections, models

from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_states, key_values, stamps
from cachelayer.redis import epoch, shard_epochs, shards
from cachelayer.representation import computed, declared_reads
from cachelayer.representation.computed import Computed
from cachelayer.representation.loading import found, read_rows
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached

logger = logging.getLogger("cachelayer.documents")

#: How often a document is loaded while the rows that it refers to keep changing.
_TRIES: Final = 3
#: A document under more stamps is not cached, because each hit would compare all of them.
MOST: Final = 2000


def fill(
    using: str,
    cached: Cached,
    keys: Mapping[str, Any],
    values: Mapping[str, bytes | None],
    lease: bytes,
) -> tuple[dict[Any, bytes], set[str]]:
    """Load the rows of the leased *keys*, which map to primary keys, and fill.

    *values* is what the keys held. Returns the rows by primary key, and the keys that could be
    filled; a document cannot if it shows a row that is just being written. Raises
    ``DatabaseError``.
    """
    try:
        if not cached.is_query_checked:
            rows = read_rows(using, cached, keys.values())
            store({key: rows[pk] for key, pk in keys.items()}, lease)
            return rows, set(keys)
        known = _epochs_of(cached)
        rows, sealed = _load_sealed(using, cached, keys, values)
        if known != _epochs_of(cached, again=True):
            sealed = {}
    except Exception:  # The project's code may raise anything.
        release(keys, lease)
        raise
    stored = {key: sealed.get(pk, key_values.INVALIDATE) for key, pk in keys.items()}
    if cached.kind == "page":
        return rows, _confirmed(stored, {key: rows[pk] for key, pk in keys.items()}, lease)
    store(stored, lease)
    return rows, {key for key, pk in keys.items() if pk in sealed}


def _epochs_of(cached: Cached, *, again: bool = False) -> str:
    """For a page on Redis Cluster: the number of the last reconcile of any shard.

    Its rows are on other nodes. 1. The node of a row fails over; the new one is reconciled. 2. A
    writer marks the row there, and commits. 3. A reader that has not heard of it takes the old row
    from the old node, and fills the page on a third: it would stay. So nothing is filled if there
    was a reconcile, as Postgres says after the rows were taken.
    """
    if cached.kind != "page" or not shards.are_used():
        return ""
    try:
        return (shard_epochs.ask() if again else shard_epochs.current()).version
    except epoch.UNKNOWN as error:
        raise CacheUnavailable(f"Postgres does not tell the epochs: {error}") from error


def _confirmed(stored: Mapping[str, bytes], pages: Mapping[str, bytes], lease: bytes) -> set[str]:
    """Fill *stored* under *lease*; return the keys whose *pages* are unchanged after that.

    1. A reader selects the public rows. 2. One of them stops being public, gets a secret, and is
    pushed. 3. The reader takes it from the cache. The view would never have shown such a page.
    """
    with suppress(CacheUnavailable):
        held = dict(zip(stored, key_states.confirm(stored, lease), strict=True))
        return {key for key, page in pages.items() if held[key] == page}
    return set()


def release(keys: Iterable[str], lease: bytes) -> None:
    """Give the leases back: the rows could not be loaded, and no reader should wait for them."""
    store(dict.fromkeys(keys, key_values.INVALIDATE), lease)


def store(rows: Mapping[str, bytes], lease: bytes) -> None:
    """Fill *rows* under *lease*; never raises."""
    # If the fill fails, this reader still has the row; only the next reader misses.
    with suppress(CacheUnavailable):
        key_states.fill(rows, lease)


def _load_sealed(
    using: str,
    cached: Cached,
    keys: Mapping[str, Any],
    values: Mapping[str, bytes | None],
) -> tuple[dict[Any, bytes], dict[Any, bytes]]:
    """The documents by primary key, and the stored form of those whose stamps are valid."""
    noted: dict[str, str] = {}
    asked: set[str] = set()
    pks = list(keys.values())
    wanted = set().union(*(stamps.of_value(values.get(key)) for key in keys))
    if isinstance(cached, Computed):
        # The arguments name the stamps, so they are known without loading.
        wanted = set().union(*(stamps.of(using, cached.stamps(pk)) for pk in pks))
    for _ in range(_TRIES):
        try:
            noted |= stamps.note(using, wanted - asked, cached.lifetime)
        except CacheUnavailable:
            return read_rows(using, cached, pks), {}
        asked |= wanted
        loaded = _load(using, cached, pks)
        wanted = set().union(*loaded.stamps.values())
        if wanted <= asked:
            break
    sealed = {
        pk: stamps.sealed(row, {each: noted[each] for each in under}) if under else row
        for pk, row in loaded.rows.items()
        if (under := loaded.stamps.get(pk)) is not None and under <= noted.keys()
    }
    return loaded.rows, sealed


@dataclass(slots=True)
class Loaded:
    """Documents by the value in their keys, and the stamps of the rows that each shows."""

    rows: dict[Any, bytes]
    #: Documents that may not be cached have no entry.
    stamps: dict[Any, set[str]]


def _load(using: str, cached: Cached, pks: list[Any]) -> Loaded:
    if isinstance(cached, Computed):
        return _compute(using, cached, pks)
    return load(using, cached, pks)


def _compute(using: str, cached: Computed, values: list[Any]) -> Loaded:
    found = Loaded({}, {})
    for each in values:
        found.rows[each], undeclared = cached.compute(each, fresh=False)
        if undeclared:
            _complain(cached.prefix, computed.undeclared_message(cached.prefix, undeclared))
        else:
            found.stamps[each] = stamps.of(using, cached.stamps(each))
    return found


def load(using: str, cached: CachedModel, pks: list[Any]) -> Loaded:
    """The rows of *pks* with all rows that they show. Raises ``DatabaseError``."""
    loaded = Loaded(dict.fromkeys(pks, key_values.NULL), {pk: set() for pk in pks})
    loading = declared_reads.Tables()
    with connections[using].execute_wrapper(loading):
        fetched = cached.fetch(found(using, cached, pks))
    row = declared_reads.row(cached.model, cached.serializer)
    known = {*row.tables, *row.targets, declared_reads.CONSTANT}
    # A custom manager may query more tables.
    if cached.shown and (undeclared := loading.named - cached.shown.tables() - known):
        loaded.stamps = {}
        complain(cached, undeclared)
    for pk, instance in fetched.items():
        _add(loaded, using, cached, pk, instance)
    return loaded


def _add(loaded: Loaded, using: str, cached: CachedModel, pk: Any, instance: models.Model) -> None:
    with declared_reads.Queries(cached.model, cached.serializer, instance.pk, using) as queries:
        loaded.rows[pk] = cached.render_fetched(instance)
    if queries.undeclared:
        loaded.stamps.pop(pk, None)
        complain(cached, queries.undeclared)
    if pk not in loaded.stamps or not cached.shown:
        return
    try:
        under = stamps.of(using, cached.shown.stamps(instance))
        under |= stamps.of_all(using, cached.columns())
    except CacheUnavailable:
        del loaded.stamps[pk]
        return
    loaded.stamps[pk] = under
    if len(under) > MOST:
        del loaded.stamps[pk]
        problem = (
            f"Rows of {cached.model._meta.label} need more than {MOST} stamps, so they are not "
            "cached. Show fewer related rows, or show them in pages."
        )
        _complain(cached.prefix, problem)


_complained: set[tuple[str, str]] = set()


def complain(cached: CachedModel, tables: set[str]) -> None:
    """Log that rows of *cached* query *tables* while they are rendered, so they are not cached."""
    label, names = cached.model._meta.label, ", ".join(sorted(tables))
    if cached.shown and tables <= cached.shown.tables():
        problem = (
            f"{label} queries {names} again while a row is rendered, so its rows are not cached. "
            "The relations in depends_on are loaded with the row: read them by .all(), and filter "
            "in Python."
        )
    else:
        problem = (
            f"{label} shows undeclared rows of {names}, so its rows are not cached. Name the "
            "relations in depends_on of cachelayer.register(). Or set depends_on=[], and call "
            "cachelayer.invalidate() wherever these rows change."
        )
    _complain(cached.prefix, problem)


def _complain(prefix: str, problem: str) -> None:
    """Log each problem of each document once."""
    if (prefix, problem) not in _complained:
        _complained.add((prefix, problem))
        logger.error("%s", problem)
