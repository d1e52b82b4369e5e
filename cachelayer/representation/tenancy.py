"""A schema for each tenant: which tenant's rows does a connection read and write now?

Keys of a tenant's rows begin with its schema (``tenant_a/item:5``). The triggers of its tables name
the schema. A reader takes it from the connection: django-tenants' ``schema_name``, or the result of
the function that ``TENANT`` names. Tables that all tenants share have plain keys.

A tenant's rows are cached only while its tables have their triggers. A process checks this when it
first meets the tenant, and then once a second. A table that is neither the tenant's nor shared (its
``migrate`` has not run yet) has no key, because tenants would share the rows under a plain key.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db import DatabaseError, InterfaceError, connections
from django.utils.module_loading import import_string

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.representation import side_cursor

#: For each table in the schemas, and each table that tenants share, the number of our triggers.
_TABLES: Final = """
SELECT CASE WHEN nspname = ANY(%s) THEN nspname ELSE '' END, relname,
    (SELECT count(*) FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
     WHERE tgrelid = pg_class.oid AND proname = 'cachelayer_witness' AND tgenabled = 'A')
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p') AND (nspname = ANY(%s) OR relnamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = to_regclass('cachelayer_repair')))
"""
#: For INSERT, UPDATE, DELETE and TRUNCATE.
_TRIGGERS: Final = 4

_Tables = dict[str, int]
#: By database and schema ("": shared by tenants): its tables, with the triggers of each.
_tables: dict[str, dict[str, _Tables]] = {}


def schema(using: str) -> str:
    """The schema of the current tenant of the connection *using*; "" for none."""
    ask = _asks(using)
    return ask(connections[using]) if ask else ""


def may_be(using: str) -> bool:
    """Whether connections to *using* may have a tenant."""
    return _asks(using) is not None


def start(using: str, table: str) -> str:
    """The start of keys of *table*'s rows on the connection *using*: ``tenant_a/`` or "".

    Raises ``CacheUnavailable`` if writes to the tenant's tables are not followed.
    """
    if not _asks(using) or not (name := schema(using)):
        return ""
    known = _tables.setdefault(using, {})
    if name not in known:
        _refresh(using, {name})
    own, shared = known.get(name, {}), known.get("", {})
    if own.get(table, 0) >= _TRIGGERS:
        return f"{name}/"
    if table in shared and table not in own:
        return ""
    # Ask again the next time, because this may change.
    known.pop(name, None)
    raise CacheUnavailable(
        f"{name}.{table} does not exist or lacks triggers. Run `migrate` for that tenant."
    )


def refresh() -> None:
    """Check the triggers of all known tenants again; raises ``CacheUnavailable``."""
    for using, known in list(_tables.items()):
        _refresh(using, {*known} - {""})


def _refresh(using: str, names: set[str]) -> None:
    found: dict[str, _Tables] = {"": {}, **{name: {} for name in names}}
    try:
        with side_cursor.cursor(using) as cursor:
            cursor.execute(_TABLES, [sorted(names), sorted(names)])
            for schema, table, triggers in cursor.fetchall():
                found[schema][table] = triggers
    except (DatabaseError, InterfaceError) as error:
        raise CacheUnavailable(f"Postgres does not say what tenants have: {error}") from error
    # Update the same dictionary, because other threads may be adding to it.
    _tables[using].update(found)


@cache
def _asks(using: str) -> Callable[[Any], str] | None:
    if path := conf.get().TENANT:
        answer: Callable[[Any], str] = import_string(path)
        return answer
    return _of_django_tenants if hasattr(connections[using], "schema_name") else None


def _of_django_tenants(connection: Any) -> str:
    public = getattr(django_settings, "PUBLIC_SCHEMA_NAME", "public")
    name = connection.schema_name
    return "" if name in (None, public) else str(name)


def forget() -> None:
    """Forget all tenants, as in a new process."""
    _tables.clear()
    _asks.cache_clear()


def _follow(*, setting: str, **kwargs: object) -> None:
    if setting in ("CACHELAYER", "DATABASES"):
        forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.tenancy")
os.register_at_fork(after_in_child=forget)
