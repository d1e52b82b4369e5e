"""Reading: hit → the bytes. Absent → lease, SELECT, fill. Mark → SELECT, no fill."""

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from django.db import connections, models

from cachelayer import conf, events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import documents, key_states, partition, takeover, watchdog
from cachelayer.protocol.write import has_written, has_written_of
from cachelayer.redis import epoch
from cachelayer.representation import registry
from cachelayer.representation.computed import VALUE
from cachelayer.representation.loading import read_rows
from cachelayer.representation.plans import Serializer
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import session

Outcome = Literal["hit", "miss", "bypass"]

#: The first pause of a reader that waits for another's lease, in seconds; it doubles.
_FIRST_PAUSE: Final = 0.002
_NO_TRUST: Final = "Postgres has not yet said that nobody writes without marks."


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a read.

    ``hit``: the cache had it. ``miss``: it was absent, this reader loaded it
    and filled the cache. ``bypass``: it came from Postgres past the cache.
    """

    outcome: Outcome
    #: The JSON bytes of the row, or None when there is no such row.
    row: bytes | None


class Fetched(NamedTuple):
    """What ``fetch`` has given for *key*, for a ``read`` of the same request to go on from."""

    key: str
    value: bytes | None


def fetch(key: str) -> bytes | None:
    """What Redis holds under *key*, if it may be believed now; else ``CacheUnavailable``."""
    return _fetch([key])[0]


def _fetch(keys: Sequence[str], verified: bool = False) -> list[bytes | None]:
    is_strict = partition.is_on()
    if not is_strict and not verified:
        return key_states.get(keys)
    wanted = partition.trust.held() if is_strict else epoch.known()
    if not wanted:
        raise CacheUnavailable(_NO_TRUST)
    # In the same round trip: this connection may lead to another server since the last one.
    values, found = key_states.get_verified(keys)
    if found != wanted:
        if is_strict:
            partition.trust.ask_again()
        raise CacheUnavailable(_NO_TRUST)
    return values


def note_hit(cached: Cached, pk: Any, key: str, value: bytes, seconds: float) -> None:
    """Announce a read that is answered with *value*, the row or null found under *key*."""
    events.value_answered(cached, pk, key, value)
    events.read_ended(cached.kind, "hit", seconds)
    watchdog.task.wake()


def note_bypass(cached: Cached) -> None:
    """Announce a read that Postgres has answered because the cache may not be used."""
    ended(cached, Read("bypass", None))


def read(
    model: type[models.Model],
    pk: Any,
    fetched: Fetched | None = None,
    *,
    serializer: Serializer | None = None,
) -> Read:
    """The row of *model* with primary key *pk*, never older than an acknowledged write.

    As the first serializer that the model is registered with shows it, or *serializer*.
    *fetched* is what this request has found under the key already. Raises
    ``ValidationError`` for a *pk* of the wrong form and ``DatabaseError`` when
    Postgres is needed and does not answer.
    """
    return read_one(registry.get(model, serializer), pk, fetched)


def read_by(
    model: type[models.Model], *, serializer: Serializer | None = None, **value: Any
) -> Read:
    """As ``read``, by a unique column that ``register(read_by=…)`` names: ``isbn="0-19-853453-1"``.

    Raises ``TypeError`` unless one is given.
    """
    if len(value) != 1:
        raise TypeError(f"read_by() takes one column and its value, and not {len(value)}.")
    [(name, wanted)] = value.items()
    return read_one(registry.get(model, serializer, name), wanted)


def read_one(cached: Cached, pk: Any, fetched: Fetched | None = None) -> Read:
    """As ``read``, of one registration; *pk* is what its keys have behind the colon."""
    began = time.perf_counter()
    pk = cached.to_python(pk)
    found = find_one(cached, pk, fetched)
    if found is None:
        found = Read("bypass", _unwrap(read_rows(cached.database, cached, [pk])[pk]))
    return ended(cached, found, time.perf_counter() - began)


def find_one(cached: Cached, pk: Any, fetched: Fetched | None = None) -> Read | None:
    """As ``read_one``, not announced; None where Postgres must be asked past the cache."""
    using = cached.database
    with suppress(CacheUnavailable):
        key = cached.key(pk)
        if not _reads_otherwise(using, cached, key):
            value = fetched.value if fetched and fetched.key == key else fetch(key)
            return _read_cached(using, cached, pk, key, value)
    return None


def read_many(
    model: type[models.Model], pks: Iterable[Any], *, serializer: Serializer | None = None
) -> dict[Any, Read]:
    """The rows with primary keys *pks*, in that order; one round trip when all are hits."""
    cached = registry.get(model, serializer)
    try:
        keys = _keys(cached, pks)
    except CacheUnavailable:
        loaded = read_rows(cached.database, cached, map(cached.to_python, pks))
        return {pk: ended(cached, Read("bypass", _unwrap(row))) for pk, row in loaded.items()}
    rows, outcomes = _find(cached.database, cached, keys)
    return {pk: ended(cached, Read(outcomes[key], _unwrap(rows[key]))) for key, pk in keys.items()}


def rows(
    model: type[models.Model], pks: Iterable[Any], *, serializer: Serializer | None = None
) -> list[bytes]:
    """Those of the rows with primary keys *pks* that there are, in that order, for a list of them.

    As ``read_many``; but a list is no read of each of its rows, so nothing is counted.
    """
    return rows_of(registry.get(model, serializer), pks)


def rows_of(cached: CachedModel, pks: Iterable[Any], *, verified: bool = False) -> list[bytes]:
    """As ``rows``, of one registration; *verified*: hits of the server of this epoch only."""
    try:
        keys = _keys(cached, pks)
    except CacheUnavailable:
        loaded = read_rows(cached.database, cached, map(cached.to_python, pks))
        return [row for row in loaded.values() if row != key_states.NULL]
    rows, outcomes = _find(cached.database, cached, keys, verified=verified)
    if "hit" in outcomes.values():
        watchdog.task.wake()
    return [row for row in map(rows.__getitem__, keys) if row != key_states.NULL]


def _keys(cached: CachedModel, pks: Iterable[Any]) -> dict[str, Any]:
    """The primary keys in their one form, by key."""
    start = cached.start
    return {f"{start}:{pk}": pk for pk in map(cached.to_python, pks)}


def _find(
    using: str, cached: CachedModel, keys: dict[str, Any], *, verified: bool = False
) -> tuple[dict[str, bytes], dict[str, Outcome]]:
    """The rows of *keys*, and where each has come from. What was absent is filled."""
    # One token serves for all: it says which reader may fill, not which row.
    lease = key_states.new_lease()
    rows: dict[str, bytes] = {}
    leased: dict[str, Any] = {}
    values: dict[str, bytes | None] = {}
    with suppress(CacheUnavailable):
        values = _fetch_many(using, cached, keys, verified)
        rows = _known(cached, keys, values)
        if len(rows) == len(keys):
            return rows, dict.fromkeys(keys, "hit")
        if free := takeover.free(using, values):
            taken = takeover.lease(using, free, lease)
            leased = {key: keys[key] for key, took in zip(free, taken, strict=True) if took}
    unknown = {key: pk for key, pk in keys.items() if key not in rows}
    loaded, filled = _load(using, cached, unknown, leased, values, lease)
    outcomes: dict[str, Outcome] = dict.fromkeys(keys, "bypass")
    outcomes |= dict.fromkeys(rows, "hit")
    outcomes |= dict.fromkeys(filled, "miss")
    return rows | {key: loaded[pk] for key, pk in unknown.items()}, outcomes


def _load(
    using: str,
    cached: CachedModel,
    unknown: dict[str, Any],
    leased: dict[str, Any],
    values: dict[str, bytes | None],
    lease: bytes,
) -> tuple[dict[Any, bytes], set[str]]:
    """The rows of the *unknown* keys, and those of the *leased* that were filled."""
    if not cached.is_query_checked:  # All by one query.
        loaded = read_rows(using, cached, unknown.values())
        if leased:
            documents.store({key: loaded[pk] for key, pk in leased.items()}, lease)
        return loaded, set(leased)
    others = [pk for key, pk in unknown.items() if key not in leased]
    loaded = read_rows(using, cached, others)
    if not leased:
        return loaded, set()
    rows, filled = documents.fill(using, cached, leased, values, lease)
    return loaded | rows, filled


def _fetch_many(
    using: str, cached: CachedModel, keys: dict[str, Any], verified: bool
) -> dict[str, bytes | None]:
    """As ``fetch``, without the rows that this transaction has written itself."""
    connection = connections[using]
    if session.is_at_home(connection) and not connection.run_on_commit:
        wanted = list(keys)
    else:
        wanted = [key for key in keys if not _reads_otherwise(using, cached, key)]
    return dict(zip(wanted, _fetch(wanted, verified), strict=True)) if wanted else {}


def _known(
    cached: CachedModel, keys: dict[str, Any], values: dict[str, bytes | None]
) -> dict[str, bytes]:
    """Of the *values* that were looked up: rows and nulls; a share of them is checked."""
    known = {key: value for key, value in values.items() if value and key_states.is_known(value)}
    for key, value in known.items():
        events.value_answered(cached, keys[key], key, value)
    return known


def _read_cached(using: str, cached: Cached, pk: Any, key: str, value: bytes | None) -> Read | None:
    """The answer by way of the cache, which held *value*; None where Postgres must be asked."""
    deadline = time.monotonic() + conf.get().LEASE_WAIT
    pause = _FIRST_PAUSE
    while True:
        if value is not None and key_states.is_known(value):
            events.value_answered(cached, pk, key, value)
            return Read("hit", _unwrap(value))
        is_late = time.monotonic() >= deadline
        # A reader that has held its lease for so long may be dead: another takes it over.
        if free := takeover.free(using, {key: value}, also_leases=is_late):
            token = key_states.new_lease()
            if takeover.lease(using, free, token)[0]:
                loaded, filled = documents.fill(using, cached, {key: pk}, {key: value}, token)
                outcome: Outcome = "miss" if filled else "bypass"
                return Read(outcome, _unwrap(loaded[pk]))
        elif not key_states.is_lease(value):
            return None
        # Another reader is loading this row: a stampede. It will be here soon.
        if is_late:
            return None
        if pause == _FIRST_PAUSE:
            events.stampede_waited()
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2
        value = key_states.get([key])[0]


def _reads_otherwise(using: str, cached: Cached, key: str) -> bool:
    """Whether Postgres would give this thread another row than anybody else.

    Its transaction has written a newer one, or something that it may show, or its session looks
    into another schema.
    """
    connection = connections[using]
    if not session.is_at_home(connection):
        return True
    if not connection.run_on_commit:
        return False  # Nearly always; the rest takes longer than a hit may.
    if has_written(using, key, f"{key.partition(':')[0]}:{EVERY}"):
        return True
    return cached.is_document and has_written_of(
        using, {column.prefix for column in cached.columns()}
    )


def _unwrap(row: bytes) -> bytes | None:
    if row[:1] == VALUE:
        return row[1:]
    return None if row == key_states.NULL else row


def ended(cached: Cached, read: Read, seconds: float | None = None) -> Read:
    """Announce *read*, and answer it."""
    if not conf.get().ENABLED:
        return read  # Nobody's statistics, and no thread that would add them up.
    events.read_ended(cached.kind, read.outcome, seconds)
    if read.outcome == "hit":
        watchdog.task.wake()
    return read
