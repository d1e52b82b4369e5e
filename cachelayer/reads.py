"""Reading: hit → the bytes. Absent → lease, SELECT, fill. Mark → SELECT, no fill."""

import random
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from django.db import connections, models, router

from cachelayer import (
    conf,
    counters,
    livecheck,
    metrics,
    registry,
    spans,
    states,
    strict,
    watch,
)
from cachelayer.gate import CacheUnavailable
from cachelayer.registry import CachedModel
from cachelayer.write import read_rows, written_pks

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


class LookedUp(NamedTuple):
    """What ``look_up`` has given for *key*, for a ``read`` of the same request to go on from."""

    key: str
    value: bytes | None


def look_up(key: str) -> bytes | None:
    """What Redis holds under *key*, if it may be believed now; else ``CacheUnavailable``."""
    if not strict.trust.held():
        raise CacheUnavailable(_NO_TRUST)
    return states.get([key])[0]


def hit(cached: CachedModel, pk: Any, key: str, value: bytes) -> Read:
    """The answer to a read under whose *key* a row or null was found; counted."""
    livecheck.sample(cached, pk, key, value)
    return _count(Read("hit", _unwrap(value)))


@metrics.timed
def read(model: type[models.Model], pk: Any, looked_up: LookedUp | None = None) -> Read:
    """The row of *model* with primary key *pk*, never older than an acknowledged write.

    *looked_up* is what this request has found under the key already. Raises
    ``ValidationError`` for a *pk* of the wrong form and ``DatabaseError`` when
    Postgres is needed and does not answer.
    """
    cached = registry.get(model)
    pk = cached.to_python(pk)
    key = cached.key(pk)
    using = router.db_for_write(model)
    if not _sees_uncommitted(using, cached, pk):
        with suppress(CacheUnavailable):
            value = looked_up.value if looked_up and looked_up.key == key else look_up(key)
            if found := _read_cached(using, cached, pk, key, value):
                return found
    return _count(Read("bypass", _load(using, cached, [pk])[pk]))


def read_many(model: type[models.Model], pks: Iterable[Any]) -> dict[Any, Read]:
    """The rows with primary keys *pks*, in that order; one round trip when all are hits."""
    cached = registry.get(model)
    using = router.db_for_write(model)
    keys = _keys(cached, pks)
    # One token serves for all: it says which reader may fill, not which row.
    lease = states.new_lease()
    outcomes: dict[Any, Outcome] = dict.fromkeys(keys, "bypass")
    rows: dict[Any, bytes] = {}
    leased: list[Any] = []
    with suppress(CacheUnavailable):
        values = _look_up_many(using, cached, keys)
        rows = _known(cached, keys, values)
        outcomes |= dict.fromkeys(rows, "hit")
        absent = [pk for pk, value in values.items() if value is None]
        if absent and not connections[using].in_atomic_block:
            taken = states.lease([keys[pk] for pk in absent], lease)
            leased = [pk for pk, took in zip(absent, taken, strict=True) if took]
    loaded = read_rows(using, cached, [pk for pk in keys if pk not in rows])
    if leased:
        _fill({keys[pk]: loaded[pk] for pk in leased}, lease)
        outcomes |= dict.fromkeys(leased, "miss")
    rows |= loaded
    return {pk: _count(Read(outcomes[pk], _unwrap(rows[pk]))) for pk in keys}


def rows(model: type[models.Model], pks: Iterable[Any]) -> list[bytes]:
    """Those of the rows with primary keys *pks* that there are, in that order, for a list of them.

    From the cache what it has, the rest by one query. As new as those of ``read_many``;
    but a list is no read of each of its rows, so nothing is counted or filled.
    """
    cached = registry.get(model)
    using = router.db_for_write(model)
    keys = _keys(cached, pks)
    found: dict[Any, bytes] = {}
    with suppress(CacheUnavailable):
        found = _known(cached, keys, _look_up_many(using, cached, keys))
    if found:
        watch.ticker.poke()
    if len(found) < len(keys):
        found |= read_rows(using, cached, [pk for pk in keys if pk not in found])
    return [row for row in map(found.__getitem__, keys) if row != states.NULL]


def _keys(cached: CachedModel, pks: Iterable[Any]) -> dict[Any, str]:
    return {pk: cached.key(pk) for pk in map(cached.to_python, pks)}


def _look_up_many(using: str, cached: CachedModel, keys: dict[Any, str]) -> dict[Any, bytes | None]:
    """As ``look_up``, without the rows that this transaction has written itself."""
    if not strict.trust.held():
        raise CacheUnavailable(_NO_TRUST)
    written = written_pks(using, cached)
    pks = [pk for pk in keys if pk not in written] if written else list(keys)
    return dict(zip(pks, states.get([keys[pk] for pk in pks]), strict=True))


def _known(
    cached: CachedModel, keys: dict[Any, str], values: dict[Any, bytes | None]
) -> dict[Any, bytes]:
    """Of the *values* that were looked up: rows and nulls; a share of them is checked."""
    known = {pk: value for pk, value in values.items() if value and states.is_known(value)}
    for pk, value in known.items():
        livecheck.sample(cached, pk, keys[pk], value)
    return known


def _read_cached(
    using: str, cached: CachedModel, pk: Any, key: str, value: bytes | None
) -> Read | None:
    """The answer by way of the cache, which held *value*; None where Postgres must be asked."""
    deadline = time.monotonic() + conf.get().LEASE_WAIT
    pause = _FIRST_PAUSE
    while True:
        if value is not None and states.is_known(value):
            return hit(cached, pk, key, value)
        is_free = value is None or (states.is_mark(value) and states.is_over(value))
        if is_free and not connections[using].in_atomic_block:
            token = states.new_lease()
            if states.lease([key], token)[0]:
                row = read_rows(using, cached, [pk])[pk]
                _fill({key: row}, token)
                return _count(Read("miss", _unwrap(row)))
        elif not states.is_lease(value):
            return None
        # Another reader is loading this row: a stampede. It will be here soon.
        if time.monotonic() >= deadline:
            return None
        if pause == _FIRST_PAUSE:
            metrics.stampede_waits.inc()
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2
        value = states.get([key])[0]


def _sees_uncommitted(using: str, cached: CachedModel, pk: Any) -> bool:
    """Whether this transaction has a newer row than anybody else may see."""
    return connections[using].in_atomic_block and pk in written_pks(using, cached)


def _fill(rows: dict[str, bytes], token: bytes) -> None:
    # Unfilled, the row is loaded all the same; only the next reader misses it.
    with suppress(CacheUnavailable):
        states.fill(rows, token)


def _load(using: str, cached: CachedModel, pks: list[Any]) -> dict[Any, bytes | None]:
    return {pk: _unwrap(row) for pk, row in read_rows(using, cached, pks).items()}


def _unwrap(row: bytes) -> bytes | None:
    return None if row == states.NULL else row


def _count(read: Read) -> Read:
    counters.add(read.outcome)
    metrics.reads[read.outcome].inc()
    spans.outcome(read.outcome)
    if read.outcome == "hit":
        watch.ticker.poke()
    return read
