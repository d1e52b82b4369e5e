"""Bulk writes that the cache follows: the queryset and manager of cached models.

``QuerySet.update``, ``bulk_create`` and ``bulk_update`` send no signals. Here
each asks Postgres which rows it wrote, with RETURNING in the same statement, so
that no row can slip in between.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from django.db import connections, models, transaction

from cachelayer import exactness, registry, states, write

T = TypeVar("T", bound=models.Model)


class CachedQuerySet(models.QuerySet[T]):
    """A queryset whose every way to write reaches the cache."""

    def update(self, **kwargs: Any) -> int:
        """As Django's; the rows written are pushed when the transaction commits."""
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            with self._following() as written:
                count = super().update(**kwargs)
            self._record(dict.fromkeys(written))
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[T],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[T]:
        """As Django's; the rows written are pushed when the transaction commits."""
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            with self._following() as written:
                created = super().bulk_create(
                    objs, batch_size, ignore_conflicts, update_conflicts, update_fields,
                    unique_fields,
                )  # fmt: skip
            if update_conflicts:
                # The conflicting row keeps its own primary key.
                written |= self._pks_of_conflicts(created, unique_fields or ())
            rows: dict[Any, bytes | None] = dict.fromkeys(written)
            for instance in created:
                if instance.pk is not None:
                    plain = not (ignore_conflicts or update_conflicts)
                    rows[instance.pk] = self._render(instance) if plain else None
            self._record(rows)
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _raw_delete(self, using: str | None) -> int:
        self._for_write = True
        self._db = using = using or self.db
        with transaction.atomic(using=using, savepoint=False):
            with self._following() as written:
                count: int = super()._raw_delete(using)
            self._record(dict.fromkeys(written, states.NULL))
        return count

    _raw_delete.alters_data = True  # type: ignore[attr-defined]

    def _render(self, instance: T) -> bytes | None:
        cached = registry.find(self.model)
        if cached is None or cached.reread or not exactness.is_the_row(instance):
            return None
        return cached.render(instance)

    def _record(self, rows: dict[Any, bytes | None]) -> None:
        for cached in registry.sharing_rows_with(self.model):
            same = cached.model is self.model._meta.concrete_model
            write.record(self.db, cached, rows if same else dict.fromkeys(rows))

    def _pks_of_conflicts(self, objs: Iterable[T], unique_fields: Collection[str]) -> set[Any]:
        conditions = [
            models.Q(**{name: getattr(obj, name) for name in unique_fields}) for obj in objs
        ]
        if not conditions:
            return set()
        rows = self.model._base_manager.using(self.db).filter(reduce(or_, conditions))
        return set(rows.values_list("pk", flat=True))

    @contextmanager
    def _following(self) -> Iterator[set[Any]]:
        """Collect the primary keys of the rows that the statements in the block write."""
        written: set[Any] = set()
        connection = connections[self.db]
        with connection.execute_wrapper(_returning(self.model, connection, written)):
            yield written


CachedManager = models.Manager.from_queryset(CachedQuerySet)


def _returning(model: type[models.Model], connection: Any, written: set[Any]) -> Callable[..., Any]:
    """An execute wrapper that appends RETURNING to Django's own bulk statements."""
    quote = connection.ops.quote_name
    family = [model._meta.concrete_model or model, *model._meta.all_parents]
    pk_columns = {quote(member._meta.db_table): quote(member._meta.pk.column) for member in family}
    heads = {
        f"{verb} {table}": f" RETURNING {table}.{pk}"
        for table, pk in pk_columns.items()
        for verb in ("UPDATE", "INSERT INTO", "DELETE FROM")
    }
    to_python = model._meta.pk.to_python

    def execute_returning(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        for head, returning in heads.items():
            # An INSERT that has RETURNING already reports to its instances.
            if sql.startswith(head) and " RETURNING " not in sql:
                result = execute(sql + returning, params, many, context)
                written.update(to_python(pk) for (pk,) in context["cursor"].fetchall())
                return result
        return execute(sql, params, many, context)

    return execute_returning
