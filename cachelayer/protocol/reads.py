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
from cachelayer.protocol import documents, key_states, key_values, partition, takeover, watchdog
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

#: The first pause of a reader that waits for another reader's lease, in seconds; it doubles.
_FIRST_PAUSE: Final = 0.002
_NO_TRUST: Final = "Postgres has not confirmed yet that no process writes without marks."


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a read.

    ``hit``: the cache had the row. ``miss``: the row was absent; this reader loaded it and filled
    the cache. ``bypass``: the row came from Postgres, and the cache was not filled.
    """

    outcome: Outcome
    #: The JSON bytes of the row, or None when there is no such row.
    row: bytes | None


class Fetched(NamedTuple):
    """The result of ``fetch`` for *key*, which a ``read`` of the same request can use."""

    key: str
    value: bytes | None


def fetch(key: str) -> bytes | None:
    """What Redis holds under *key*; ``CacheUnavailable`` if Redis is not trusted now."""
    return _fetch([key])[0]


def _fetch(keys: Sequence[str], verified: bool = False) -> list[bytes | None]:
    is_strict = partition.is_on()
    if not is_strict and not verified:
        return key_states.get(keys)
    wanted = partition.trust.held() if is_strict else epoch.known()
    if not wanted:
        raise CacheUnavailable(_NO_TRUST)
    # The epoch comes in the same round trip, because the connection may lead to another server.
    values, found = key_states.get_verified(keys)
    if found != wanted:
        if is_strict:
            partition.trust.ask_again()
        raise CacheUnavailable(_NO_TRUST)
    return values


async def afetch(key: str) -> tuple[bytes | None, float]:
    """As ``fetch``, from an event loop; and the seconds that took. Raises ``CacheUnavailable``."""
    is_strict = partition.is_on()
    wanted = partition.trust.held() if is_strict else ""
    if is_strict and not wanted:
        raise CacheUnavailable(_NO_TRUST)
    value, found, took = await key_states.aget(key, verified=is_strict)
    if is_strict and found != wanted:
        partition.trust.ask_again()
        raise CacheUnavailable(_NO_TRUST)
    return value, took


def note_hit(cached: Cached, pk: Any, key: str, value: bytes, seconds: float) -> None:
    """Announce a read that returns *value*, the row or null found under *key*."""
    events.value_answered(cached, pk, key, value)
    events.read_ended(cached.kind, "hit", seconds)
    watchdog.task.wake()


def note_bypass(cached: Cached) -> None:
    """Announce a read from Postgres, because the cache may not be used."""
    ended(cached, Read("bypass", None))


def read(
    model: type[models.Model],
    pk: Any,
    fetched: Fetched | None = None,
    *,
    serializer: Serializer | None = None,
) -> Read:
    """The row of *model* with primary key *pk*, never older than an acknowledged write.

    The row is rendered by *serializer* (default: the model's first registered serializer).
    *fetched* is what this request has already found under the key. Raises ``ValidationError`` for
    a *pk* of the wrong form, and ``DatabaseError`` if Postgres is needed and does not answer.
    """
    return read_one(registry.get(model, serializer), pk, fetched)


def read_by(
    model: type[models.Model], *, serializer: Serializer | None = None, **value: Any
) -> Read:
    """Like ``read``, by a unique column that ``register(read_by=…)`` names: ``isbn="0198534531"``.

    Raises ``TypeError`` unless exactly one column is given.
    """
    name, wanted = only(value)
    return read_one(registry.get(model, serializer, name), wanted)


def only(value: dict[str, Any]) -> tuple[str, Any]:
    """The one column of ``read_by``, and its value; raises ``TypeError``."""
    if len(value) != 1:
        raise TypeError(f"read_by() takes exactly one column with its value, not {len(value)}.")
    [(name, wanted)] = value.items()
    return name, wanted


def read_one(cached: Cached, pk: Any, fetched: Fetched | None = None) -> Read:
    """Like ``read``, for one registration; *pk* is the part of the key after the colon."""
    began = time.perf_counter()
    pk = cached.to_python(pk)
    found = find_one(cached, pk, fetched)
    if found is None:
        found = Read("bypass", unwrap(read_rows(cached.database, cached, [pk])[pk]))
    return ended(cached, found, time.perf_counter() - began)


def find_one(cached: Cached, pk: Any, fetched: Fetched | None = None) -> Read | None:
    """Like ``read_one``, but not announced; None if Postgres must be asked without the cache."""
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
    """The rows with primary keys *pks*, in that order; one round trip if all are hits."""
    cached = registry.get(model, serializer)
    try:
        keys = _keys(cached, pks)
    except CacheUnavailable:
        loaded = read_rows(cached.database, cached, map(cached.to_python, pks))
        return {pk: ended(cached, Read("bypass", unwrap(row))) for pk, row in loaded.items()}
    rows, outcomes = _find(cached.database, cached, keys)
    return {pk: ended(cached, Read(outcomes[key], unwrap(rows[key]))) for key, pk in keys.items()}


def rows(
    model: type[models.Model], pks: Iterable[Any], *, serializer: Serializer | None = None
) -> list[bytes]:
    """The existing rows with primary keys *pks*, in that order, for a list of them.

    Like ``read_many``, but nothing is counted, because a list does not count as a read of each row.
    """
    return rows_of(registry.get(model, serializer), pks)


def rows_of(cached: CachedModel, pks: Iterable[Any], *, verified: bool = False) -> list[bytes]:
    """Like ``rows``, for one registration; with *verified*, hits must be of the current epoch."""
    try:
        keys = _keys(cached, pks)
    except CacheUnavailable:
        loaded = read_rows(cached.database, cached, map(cached.to_python, pks))
        return [row for row in loaded.values() if row != key_values.NULL]
    rows, outcomes = _find(cached.database, cached, keys, verified=verified)
    if "hit" in outcomes.values():
        watchdog.task.wake()
    return [row for row in map(rows.__getitem__, keys) if row != key_values.NULL]


def _keys(cached: CachedModel, pks: Iterable[Any]) -> dict[str, Any]:
    """The primary keys in canonical form, by key."""
    start = cached.start
    return {f"{start}:{pk}": pk for pk in map(cached.to_python, pks)}


def _find(
    using: str, cached: CachedModel, keys: dict[str, Any], *, verified: bool = False
) -> tuple[dict[str, bytes], dict[str, Outcome]]:
    """The rows of *keys*, and the outcome for each. Absent rows are filled."""
    # One token serves for all keys, because it names the reader that may fill, not the row.
    lease = key_values.new_lease()
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
    """The rows of the *unknown* keys, and which of the *leased* keys were filled."""
    if not cached.is_query_checked:  # One query loads all.
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
    """Like ``fetch``, without the rows that this transaction has written itself."""
    connection = connections[using]
    if session.is_at_home(connection) and not connection.run_on_commit:
        wanted = list(keys)
    else:
        wanted = [key for key in keys if not _reads_otherwise(using, cached, key)]
    return dict(zip(wanted, _fetch(wanted, verified), strict=True)) if wanted else {}


def _known(
    cached: CachedModel, keys: dict[str, Any], values: dict[str, bytes | None]
) -> dict[str, bytes]:
    """The rows and nulls among the *values* found. The live check samples them."""
    known = {key: value for key, value in values.items() if value and key_values.is_known(value)}
    for key, value in known.items():
        events.value_answered(cached, keys[key], key, value)
    return known


def _read_cached(using: str, cached: Cached, pk: Any, key: str, value: bytes | None) -> Read | None:
    """The answer through the cache, which held *value*; None if Postgres must be asked."""
    deadline = time.monotonic() + conf.get().LEASE_WAIT
    pause = _FIRST_PAUSE
    while True:
        if value is not None and key_values.is_known(value):
            events.value_answered(cached, pk, key, value)
            return Read("hit", unwrap(value))
        is_late = time.monotonic() >= deadline
        # A reader that has held its lease this long may be dead, so another takes it over.
        if free := takeover.free(using, {key: value}, also_leases=is_late):
            token = key_values.new_lease()
            if takeover.lease(using, free, token)[0]:
                loaded, filled = documents.fill(using, cached, {key: pk}, {key: value}, token)
                outcome: Outcome = "miss" if filled else "bypass"
                return Read(outcome, unwrap(loaded[pk]))
        elif not key_values.is_lease(value):
            return None
        # Another reader is loading this row (a stampede), so it will be here soon.
        if is_late:
            return None
        if pause == _FIRST_PAUSE:
            events.stampede_waited()
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2
        value = key_states.get([key])[0]


def _reads_otherwise(using: str, cached: Cached, key: str) -> bool:
    """Whether Postgres would give this thread another row than all others.

    This is the case if its transaction has written the row or something that the row may show, or
    if its session uses another schema.
    """
    connection = connections[using]
    if not session.is_at_home(connection):
        return True
    if not connection.run_on_commit:
        return False  # Nearly always. The rest takes longer than a hit may.
    if has_written(using, key, f"{key.partition(':')[0]}:{EVERY}"):
        return True
    return cached.is_document and has_written_of(
        using, {column.prefix for column in cached.columns()}
    )


def unwrap(row: bytes) -> bytes | None:
    """What a read answers of *row*, as it is cached."""
    if row[:1] == VALUE:
        return row[1:]
    return None if row == key_values.NULL else row


def ended(cached: Cached, read: Read, seconds: float | None = None) -> Read:
    """Announce *read*, and return it."""
    if not conf.get().ENABLED:
        return read  # Do not count it, and start no thread that adds counts to the totals.
    events.read_ended(cached.kind, read.outcome, seconds)
    if read.outcome == "hit":
        watchdog.task.wake()
    return read
