"""SQL from outside the project reaches the repair log by triggers on every cached table.

Each is one statement-level trigger, so a large UPDATE or a COPY costs one INSERT.
The project's own connections say ``cachelayer.own=on`` when they connect and are
exempt: what they write is marked and pushed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pgtrigger
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from cachelayer import registry, repair, write
from cachelayer.registry import AnyModel, CachedModel

#: What the project's connections set; belongs into OPTIONS["options"] of DATABASES.
OWN: Final = "cachelayer.own"

_NOT_OWN = pgtrigger.Condition(f"current_setting('{OWN}', true) IS DISTINCT FROM 'on'")

_ROWS = {
    pgtrigger.Insert: (pgtrigger.Referencing(new="new_rows"), ["new_rows"]),  # type: ignore[no-untyped-call]
    pgtrigger.Update: (
        pgtrigger.Referencing(old="old_rows", new="new_rows"),  # type: ignore[no-untyped-call]
        ["old_rows", "new_rows"],
    ),
    pgtrigger.Delete: (pgtrigger.Referencing(old="old_rows"), ["old_rows"]),  # type: ignore[no-untyped-call]
}


def watch(cached: CachedModel) -> None:
    """Register the triggers of *cached*; its app's next ``makemigrations`` installs them."""
    for model in _tables(cached):
        pgtrigger.register(*_triggers(cached, model))(model)


def _tables(cached: CachedModel) -> list[AnyModel]:
    """The models whose tables a row of *cached* is made of."""
    parents = [parent for parent in cached.model._meta.all_parents if not parent._meta.proxy]
    return [cached.model, *parents]


def _triggers(cached: CachedModel, model: AnyModel) -> Iterator[pgtrigger.Trigger]:
    name = f"cachelayer_{re.sub(r'[.-]', '_', cached.prefix)}"
    pk: Any = model._meta.pk
    column = '"' + pk.column.replace('"', '""') + '"'
    for operation, (referencing, tables) in _ROWS.items():
        keys = " UNION ".join(f"SELECT '{cached.prefix}:' || {column} FROM {t}" for t in tables)
        yield pgtrigger.Trigger(
            name=f"{name}_{str(operation).lower()}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=referencing,
            condition=_NOT_OWN,
            func=_log(keys),
        )
    yield pgtrigger.Trigger(
        name=f"{name}_truncate",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Truncate,
        condition=_NOT_OWN,
        func=_log(f"SELECT '{cached.prefix}:{repair.EVERY}'"),
    )


def _log(keys: str) -> str:
    return (
        f"INSERT INTO cachelayer_repair (key) {keys}; "
        f"IF FOUND THEN PERFORM pg_notify('{repair.CHANNEL}', ''); END IF; "
        "RETURN NULL;"
    )


@contextmanager
def raw_sql(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A transaction whose raw SQL is written through, like ``save()``.

    Inside the block the triggers name the rows that its statements write; they
    are marked before COMMIT and pushed after it. For SQL on cached tables through
    Django's own cursor.
    """
    connection = connections[using]
    with transaction.atomic(using=using):
        _set_own(connection, "off")
        yield
        # After an error the rollback sets it back.
        _set_own(connection, "on")
        for key in _take_logged(connection):
            cached = registry.of_key(key)
            if key.endswith(f":{repair.EVERY}"):
                repair.log(connection, [key])
            else:
                write.record(using, cached, {cached.pk(key): None})


def _set_own(connection: Any, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {OWN} = {value}")


def _take_logged(connection: Any) -> set[str]:
    """The keys that this transaction's triggers have logged, out of the log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM cachelayer_repair WHERE xmin = pg_current_xact_id()::xid RETURNING key"
        )
        return {key for (key,) in cursor.fetchall()}
