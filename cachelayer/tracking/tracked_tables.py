"""The tables behind cached rows, and the triggers that the database has on them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer.representation import (
    own_tables,
    registration,
    registry,
    relations,
    row_json,
    tenancy,
)
from cachelayer.representation.registration import CachedModel

#: The function of all triggers.
FUNCTION: Final = "cachelayer_witness"
#: Types whose values jsonb may refuse, so that the write would fail.
_REFUSED_BY_JSONB: Final = ["json", "_json"]


@dataclass(slots=True)
class TrackedTable:
    """A table of the project: the key prefixes that its rows belong to, and by which column."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    #: The column types for which a row's JSON is exactly the row, so that it is worth sending.
    types: Mapping[str, str] | None = None


@dataclass(slots=True)
class Relation:
    """A table in the database, or a partition of a table, and its triggers."""

    watched: TrackedTable
    name: str
    kind: str
    mode: str
    #: The start of its rows' keys: a tenant's schema.
    start: str = ""
    #: By kind of statement: whether the trigger always fires, and its arguments.
    triggers: dict[str, tuple[bool, list[str]]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, str]:
        return {f"{self.start}{prefix}": column for prefix, column in self.watched.columns.items()}

    @property
    def arguments(self) -> list[str]:
        # Rows before stamps, the order in which to log and repair (``repair_log.ordered``).
        pairs = sorted(self.columns.items(), key=lambda pair: (relations.is_stamp(pair[0]), pair))
        return [self.mode, *(part for pair in pairs for part in pair)]

    def lacks(self, operation: str) -> bool:
        """Whether this release would miss writes. A newer release's trigger may name more pairs."""
        fires, arguments = self.triggers.get(operation, (False, []))
        have = set(zip(arguments[1::2], arguments[2::2], strict=False))
        return not fires or not set(self.columns.items()) <= have


def tables(cached: CachedModel) -> Iterator[tuple[str, str]]:
    """Each table behind a row of *cached*, and the column with the value of the row's key."""
    if cached.by:
        yield cached.model._meta.db_table, own_tables.column_of(cached.field)
    else:
        yield from own_tables.tables(cached.model, cached.serializer)


def tables_of(using: str) -> list[TrackedTable]:
    """The tables behind cached rows in the database *using*."""
    found: dict[str, TrackedTable] = {}
    for cached in registry.all_cached():
        if cached.database == using:
            for name, column in tables(cached):
                found.setdefault(name, TrackedTable(name)).columns[cached.prefix] = column
            if registration.is_pushed(cached):
                found[cached.model._meta.db_table].types = row_json.types(cached)
    for each in registry.every():
        for stamped in each.columns() if each.database == using else ():
            at = found.setdefault(stamped.table, TrackedTable(stamped.table))
            at.columns[stamped.prefix] = stamped.name
    return list(found.values())


def inspect(connection: BaseDatabaseWrapper) -> tuple[int, list[Relation]]:
    """The version of the trigger function (0: missing), and every relation that needs triggers.

    A statement that names a partition fires only the partition's triggers, so partitions and
    inheriting tables are separate relations. Raises ``DatabaseError``.
    """
    quoted = {connection.ops.quote_name(table.name): table for table in tables_of(connection.alias)}
    with connection.cursor() as cursor:
        cursor.execute(_VERSION_SQL, [FUNCTION])
        [version] = cursor.fetchone() or [0]
        cursor.execute(_INSPECT_SQL, [list(quoted), _REFUSED_BY_JSONB, FUNCTION])
        rows = cursor.fetchall()
    relations: dict[str, Relation] = {}
    tenant = tenancy.schema(connection.alias)
    for table, name, schema, kind, has_refused, types, operation, enabled, arguments in rows:
        wanted = quoted[table].types
        is_exact = wanted is not None and wanted.items() <= json.loads(types).items()
        mode = "columns" if has_refused else "row" if is_exact else "keys"
        # Tables that tenants share are in another schema.
        start = f"{tenant}/" if tenant and schema == tenant else ""
        relation = relations.setdefault(name, Relation(quoted[table], name, kind, mode, start))
        if operation:
            relation.triggers[operation.removeprefix("cachelayer_").upper()] = (
                enabled == "A",
                texts(arguments),
            )
    return version, list(relations.values())


_VERSION_SQL: Final = """
SELECT substring(prosrc FROM 'cachelayer ([0-9]+)')::int
FROM pg_proc WHERE oid = to_regproc(%s)
"""

_INSPECT_SQL: Final = """
WITH RECURSIVE tree (watched, oid) AS (
    SELECT name, to_regclass(name)::oid FROM unnest(%s::text[]) AS name
    WHERE to_regclass(name) IS NOT NULL
    UNION
    SELECT watched, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid
)
SELECT watched, tree.oid::regclass::text, nspname, relkind,
    EXISTS (SELECT FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
            WHERE attrelid = tree.oid AND attnum > 0 AND NOT attisdropped
            AND (typname = ANY(%s) OR typtype NOT IN ('b', 'e'))),
    (SELECT jsonb_object_agg(attname, atttypid::regtype::text) FROM pg_attribute
     WHERE attrelid = tree.oid AND attnum > 0 AND NOT attisdropped)::text,
    tgname, tgenabled, tgargs
FROM tree JOIN pg_class ON pg_class.oid = tree.oid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
LEFT JOIN pg_trigger ON tgrelid = tree.oid AND tgfoid = to_regproc(%s)
ORDER BY 1, 2
"""


def texts(arguments: Any) -> list[str]:
    """The arguments of a trigger, from ``pg_trigger.tgargs``."""
    return bytes(arguments).decode().split("\0")[:-1]
