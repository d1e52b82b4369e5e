"""Loading what is leased: rows as they are; documents under the stamps of all that they show.

A document's stamps are noted before its rows are loaded, and which they are is known only when
it is loaded: by the last time (what is stored and not valid says it), or by loading it twice.

1. A book shows its author and his agency, 1. He goes to agency 2, so the document is not valid.
2. A reader notes the stamps that it has, the author's and agency 1's, and loads: it shows agency 2.
3. A writer renames agency 2, and commits. 4. The reader fills: stale, were it not that it finds no
stamp of agency 2 among those noted, and begins again.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from django.db import connections, models

from cachelayer import declared, stamps, states
from cachelayer.gate import CacheUnavailable
from cachelayer.loading import found, read_rows
from cachelayer.registry import CachedModel

logger = logging.getLogger("cachelayer.documents")

#: So often a document is loaded whose rows go on referring to others.
_TRIES: Final = 3
#: A document under more is not cached: each hit would compare all of them.
MOST: Final = 2000


def fill(
    using: str,
    cached: CachedModel,
    keys: Mapping[str, Any],
    values: Mapping[str, bytes | None],
    lease: bytes,
) -> tuple[dict[Any, bytes], set[str]]:
    """Load the rows of *keys* (with their primary keys), all leased, and fill.

    *values* is what the keys held. Answers the rows by primary key, and the keys that could be
    filled: not a document that shows what somebody is writing just now. Raises ``DatabaseError``.
    """
    if cached.shown is None:
        rows = read_rows(using, cached, keys.values())
        store({key: rows[pk] for key, pk in keys.items()}, lease)
        return rows, set(keys)
    rows, sealed = _load_sealed(using, cached, keys, values)
    store({key: sealed.get(pk, states.INVALIDATE) for key, pk in keys.items()}, lease)
    return rows, {key for key, pk in keys.items() if pk in sealed}


def store(rows: Mapping[str, bytes], lease: bytes) -> None:
    """Fill *rows* under *lease*; never raises."""
    # Unfilled, the row is loaded all the same; only the next reader misses it.
    with suppress(CacheUnavailable):
        states.fill(rows, lease)


def _load_sealed(
    using: str,
    cached: CachedModel,
    keys: Mapping[str, Any],
    values: Mapping[str, bytes | None],
) -> tuple[dict[Any, bytes], dict[Any, bytes]]:
    """The documents by primary key, and, as they are stored, those whose stamps stand."""
    noted: dict[str, str] = {}
    asked: set[str] = set()
    wanted = set().union(*(stamps.of_value(values.get(key)) for key in keys))
    for _ in range(_TRIES):
        try:
            noted |= stamps.note(using, wanted - asked)
        except CacheUnavailable:
            return read_rows(using, cached, keys.values()), {}
        asked |= wanted
        loaded = Loaded(using, cached, list(keys.values()))
        if (wanted := loaded.wanted) <= asked:
            break
    sealed = {
        pk: row if row == states.NULL else stamps.sealed(row, {each: noted[each] for each in under})
        for pk, row in loaded.rows.items()
        if (under := loaded.stamps.get(pk)) is not None and under <= noted.keys()
    }
    return loaded.rows, sealed


class Loaded:
    """Documents, and the stamps of what each shows."""

    def __init__(self, using: str, cached: CachedModel, pks: list[Any]) -> None:
        self._using, self._cached = using, cached
        self.rows: dict[Any, bytes] = dict.fromkeys(pks, states.NULL)
        #: None of a document that may not be cached.
        self.stamps: dict[Any, set[str]] = {pk: set() for pk in pks}
        loading = _Tables()
        with connections[using].execute_wrapper(loading):
            fetched = cached.fetch(found(using, cached, pks))
        assert cached.shown
        # A manager of a model's own may ask for more.
        if undeclared := loading.named - cached.shown.tables() - {declared.CONSTANT}:
            self.stamps = {}
            _complain(cached, ", ".join(sorted(undeclared)))
        for pk, instance in fetched.items():
            self._add(pk, instance)

    @property
    def wanted(self) -> set[str]:
        return set().union(*self.stamps.values())

    def _add(self, pk: Any, instance: models.Model) -> None:
        cached = self._cached
        assert cached.shown
        queries = _Queries(cached, pk)
        with connections[self._using].execute_wrapper(queries):
            self.rows[pk] = cached.render_fetched(instance)
        if queries.undeclared:
            self.stamps.pop(pk, None)
            _complain(cached, queries.undeclared)
        if pk not in self.stamps:
            return
        try:
            under = stamps.of_instance(self._using, cached, instance)
            under |= stamps.of_all(self._using, cached.shown.columns())
        except CacheUnavailable:
            del self.stamps[pk]
            return
        self.stamps[pk] = under
        if len(under) > MOST:
            del self.stamps[pk]
            logger.debug("%s:%s shows too many rows to be cached.", cached.prefix, pk)


class _Tables:
    """Notes which tables are asked for."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    def __call__(self, execute: Callable[..., Any], sql: Any, *args: Any) -> Any:
        self.named |= declared.tables(str(sql))
        return execute(sql, *args)


class _Queries:
    """Looks at the queries of one rendering: with what is declared loaded, there are none."""

    def __init__(self, cached: CachedModel, pk: Any) -> None:
        self._cached, self._pk = cached, pk
        self.undeclared = ""

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        row = declared.row(self._cached.model, self._cached.serializer)
        if not row.is_read(str(sql), params, self._pk):
            self.undeclared = self.undeclared or ", ".join(sorted(declared.tables(str(sql))))
        return execute(sql, params, many, context)


_complained: set[tuple[str, str]] = set()


def _complain(cached: CachedModel, tables: str) -> None:
    """Once for each model and tables."""
    if (cached.prefix, tables) not in _complained:
        _complained.add((cached.prefix, tables))
        logger.error(
            "%s shows rows of %s that nobody has declared, so its rows are not cached. Name the "
            "relations in depends_on of cachelayer.register().",
            cached.model._meta.label,
            tables,
        )
