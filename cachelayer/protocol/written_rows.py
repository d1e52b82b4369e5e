"""The rows that a transaction leaves in the database, rendered before its COMMIT.

A row never comes from an instance in memory. It comes from the witness's notice if that is exact;
otherwise it is read again. Its lock is held, so no other transaction can change it until the
COMMIT.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import exceptions
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import documents, key_values
from cachelayer.representation import declared_reads, registry, row_json, tenancy
from cachelayer.representation.loading import found
from cachelayer.representation.registration import CachedModel
from cachelayer.tracking import session

logger = logging.getLogger("cachelayer.commit")

#: A row's JSON, ``key_values.NULL`` (deleted), ``key_values.INVALIDATE``, or None (read it).
Known = str | bytes | None


def _is_here(cached: CachedModel, key: str) -> bool:
    """Whether the connection is still at the tenant that the row belongs to."""
    if not tenancy.may_be(cached.database):
        return True
    try:
        return cached.start == key.partition(":")[0]
    except CacheUnavailable:
        return False


class Written:
    """The rows of the transaction on one connection, which is about to commit."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection

    def rows(self, known: Mapping[str, Known]) -> dict[str, bytes]:
        """The value that each key of *known* will have after the COMMIT.

        If a row cannot be read or rendered, that is logged and the row is invalidated. Raises
        ``DatabaseError`` if the connection is lost.
        """
        rows: dict[str, bytes] = {}
        unread: dict[CachedModel, dict[Any, str]] = {}
        for key, said in known.items():
            if isinstance(said, bytes):
                rows[key] = said
                continue
            cached = registry.model_of_prefix(key.partition(":")[0])
            assert cached
            row = None if said is None else self._of_json(cached, said, key)
            if row is None and not _is_here(cached, key):
                rows[key] = key_values.INVALIDATE
            elif row is None:
                unread.setdefault(cached, {})[cached.pk(key)] = key
            else:
                rows[key] = row
        for cached, keys in unread.items():
            rows |= {keys[pk]: row for pk, row in self._read(cached, list(keys)).items()}
        return rows

    def _of_json(self, cached: CachedModel, text: str, key: str) -> bytes | None:
        pk = cached.pk(key) if cached.is_query_checked else None
        try:
            return self._rendered(cached, lambda: row_json.render(cached, text), pk)
        except row_json.Inexact:
            return None

    def _read(self, cached: CachedModel, pks: list[Any]) -> dict[Any, bytes]:
        try:
            fetched = self._fetched(cached, pks)
        except Exception:
            logger.exception(
                "Written rows of %s could not be read again before their COMMIT. They are "
                "committed, but not cached. Let the database user that writes them also read them.",
                cached.model._meta.label,
            )
            return dict.fromkeys(pks, key_values.INVALIDATE)
        rows = dict.fromkeys(pks, key_values.NULL)
        for pk, row in fetched.items():
            rows[pk] = self._rendered(cached, partial(cached.render_fetched, row), pk)
        return rows

    def _fetched(self, cached: CachedModel, pks: list[Any]) -> dict[Any, Any]:
        """The rows. An error in Postgres does not abort the transaction."""

        def execute(
            execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
        ) -> Any:
            cursor = context["cursor"].cursor
            if not session.takes_texts_of_several(cursor):
                self._send("SAVEPOINT cachelayer_read")
                return execute(sql, params, many, context)
            # The savepoint needs no extra round trip. It ends with the transaction, soon.
            result = execute(f"SAVEPOINT cachelayer_read; {sql}", params, many, context)
            cursor.nextset()
            return result

        try:
            with self._connection.execute_wrapper(execute):
                return cached.fetch(found(self._connection.alias, cached, pks))
        except Exception:
            if session.has_failed(self._connection):
                self._send("ROLLBACK TO SAVEPOINT cachelayer_read")
            raise

    def _rendered(self, cached: CachedModel, render: Callable[[], bytes], pk: Any = None) -> bytes:
        using = self._connection.alias
        try:
            with self._guarded():
                if not cached.is_query_checked:
                    return render()
                with declared_reads.Queries(cached.model, cached.serializer, pk, using) as queries:
                    row = render()
                if queries.undeclared:
                    documents.complain(cached, queries.undeclared)
                    return key_values.INVALIDATE
                return row
        except (row_json.Inexact, exceptions.UndeclaredRead):
            raise
        except Exception:
            return self._failed(cached)

    def _failed(self, cached: CachedModel) -> bytes:
        serializer = getattr(cached.serializer, "__name__", repr(cached.serializer))
        logger.exception(
            "%s could not render a written row of %s. The row is committed, but not cached. Fix "
            "the serializer: cached rows are rendered without a request.",
            serializer,
            cached.model._meta.label,
        )
        return key_values.INVALIDATE

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep an SQL error in a serializer from aborting the transaction.

        This uses a savepoint, made only before the first statement, because most rows need none.
        """
        made = False

        def execute(
            execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
        ) -> Any:
            nonlocal made
            if not made:
                made = True
                self._send("SAVEPOINT cachelayer")
            return execute(sql, params, many, context)

        try:
            with self._connection.execute_wrapper(execute):
                yield
        except Exception:
            if made:
                self._send("ROLLBACK TO SAVEPOINT cachelayer")
            raise
        finally:
            if made:
                self._send("RELEASE SAVEPOINT cachelayer")

    def _send(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.cursor.execute(sql)  # Bypasses Django's wrappers, including ours.
