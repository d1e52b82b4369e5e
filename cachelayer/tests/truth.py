"""The right value of a read: what Postgres has, at once, and of rows that were cached before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg

import cachelayer
from cachelayer.models import Repair
from cachelayer.protocol import drain, key_values, signals, statement_listener
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.representation.plans import Serializer
from cachelayer.tests.outages import closed, until
from cachelayer.tests.pgbouncer import direct_parameters
from cachelayer.tracking import triggers


def told(model: Any, pk: Any) -> Any:
    """What a reader is told of a row, None where there is none; twice, and it is what there is."""
    cached = registry.get(model)
    pk = cached.to_python(pk)
    [there] = read_rows(None, cached, [pk]).values()
    for _ in range(2):
        row = cachelayer.read(model, pk).row
        assert (row or key_values.NULL) == there, f"a reader is told {row!r}; there is {there!r}"
    return orjson.loads(there)


def hit(model: Any, *pks: Any) -> None:
    """Cache the rows of *pks*, or that there are none: whoever reads them now hits."""
    for pk in pks:
        told(model, pk)
        assert cachelayer.read(model, pk).outcome == "hit"


def logged() -> set[str]:
    return set(Repair.objects.values_list("key", flat=True))


def repaired(*keys: str) -> None:
    """The writes were nobody's to follow: *keys* are in the log, and are repaired now."""
    assert set(keys) <= logged()
    drain.drain()


@contextmanager
def registered(model: Any, serializer: Serializer) -> Iterator[None]:
    """*model*, cached for a while: as after its registration, a ``migrate`` and its repairs."""
    cached = registry.make(model, serializer)
    registry.add(cached)
    signals.connect(cached)
    statement_listener._cached_tables.cache_clear()
    triggers.install("default")
    Repair.objects.all().delete()
    # A look that came between the two has found that triggers are missing.
    until(closed)
    try:
        yield
    finally:
        del registry._registered[model]
        statement_listener._cached_tables.cache_clear()
        triggers.install("default")


@contextmanager
def outside(**options: Any) -> "Iterator[psycopg.Connection[Any]]":
    """Another program's connection, in autocommit."""
    with psycopg.connect(**direct_parameters() | options, autocommit=True) as another:
        yield another
