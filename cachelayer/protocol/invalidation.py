"""Invalidation by hand: a row has changed for a reason that the database does not know."""

from collections.abc import Iterator
from typing import Any

from django.db import connections, models, router, transaction

from cachelayer import conf
from cachelayer.protocol import commit, key_values, write
from cachelayer.redis import epoch
from cachelayer.representation import registry, tenancy
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log
from cachelayer.tracking.notices import Notice


def invalidate(model: type[models.Model], *pks: Any, using: str | None = None) -> None:
    """Invalidate rows of *model* that have changed for a reason that the database does not know.

    This also invalidates the documents and pages that show these rows. Changes in the database
    need no call. Inside a transaction, the rows are invalidated when it commits; outside, at once.
    Raises ``DatabaseError``.
    """
    cached = registry.get(model)
    using = using or router.db_for_write(model)
    with transaction.atomic(using=using, savepoint=False):
        connection = connections[using]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_current_xact_id(), ({epoch.LAST})")
            xid, current = cursor.fetchone()
        notice = Notice({}, "", int(xid), str(current), "read committed", "", 0, "")
        keys = list(dict.fromkeys(_keys(using, cached, [cached.to_python(pk) for pk in pks])))
        if not conf.get().ENABLED:
            repair_log.log(connection, keys)
            return
        write.register(connection, commit.Write(dict.fromkeys(keys, key_values.INVALIDATE), notice))


def _keys(using: str, cached: CachedModel, pks: list[Any]) -> Iterator[str]:
    """The keys that the triggers would name if these rows were written."""
    by_column = [each for each in registry.of_model(cached.model) if each.by]
    for each in registry.of_model(cached.model):
        if not each.by:
            yield from map(each.key, pks)
    columns = {column for each in registry.every() for column in each.columns()}
    chain = [cached.model, *cached.model._meta.all_parents]
    fields = {(f.model._meta.db_table, f.column): f.attname for f in cached.model._meta.fields}
    stamped = [column for column in columns if column.table in {m._meta.db_table for m in chain}]
    for instance in cached.rows(using).filter(pk__in=pks) if by_column or stamped else ():
        for each in by_column:
            if (value := getattr(instance, each.by)) is not None:
                yield each.key(value)
        for column in stamped:
            attribute = fields.get((column.table, column.name), "pk")
            value = getattr(instance, attribute) if column.name else EVERY
            yield f"{tenancy.start(using, column.table)}{column.prefix}:{value}"
