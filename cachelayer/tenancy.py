"""A schema for each tenant: whose rows does a connection read and write just now?

Keys of a tenant's rows begin with its schema (``tenant_a/item:5``). The triggers of its tables
say so, and a reader takes it from the connection: django-tenants' ``schema_name``, or what the
callable that ``TENANT`` names answers for it. Tables that all tenants share have plain keys.

A tenant is believed in only when its tables have their triggers.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db import DatabaseError, InterfaceError, connections
from django.utils.module_loading import import_string

from cachelayer import aside, conf
from cachelayer.gate import CacheUnavailable

#: Of each table that is in the schema: how many of our triggers it has.
_TABLES: Final = """
SELECT relname, (SELECT count(*) FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
                 WHERE tgrelid = pg_class.oid AND proname = 'cachelayer_witness'
                     AND tgenabled = 'A')
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relkind IN ('r', 'p')
"""
#: For INSERT, UPDATE, DELETE and TRUNCATE.
_TRIGGERS: Final = 4

#: By database and schema: its tables, and how many of our triggers each has.
_tables: dict[tuple[str, str], dict[str, int]] = {}


def schema(using: str) -> str:
    """The schema of the tenant that the connection *using* is at; "" for none."""
    ask = _asks(using)
    return ask(connections[using]) if ask else ""


def may_be(using: str) -> bool:
    """Whether connections to *using* may be a tenant's."""
    return _asks(using) is not None


def start(using: str, table: str) -> str:
    """What keys of rows of *table* begin with, on the connection *using*: ``tenant_a/`` or "".

    Raises ``CacheUnavailable`` where nobody can say who writes the tenant's tables.
    """
    if not _asks(using) or not (name := schema(using)):
        return ""
    if (using, name) not in _tables:
        _tables[using, name] = _look(using, name)
    if table not in _tables[using, name]:
        return ""
    if _tables[using, name][table] < _TRIGGERS:
        # It may have them the next time.
        del _tables[using, name]
        raise CacheUnavailable(f"{name}.{table} lacks triggers. Run `migrate` for that tenant.")
    return f"{name}/"


def _look(using: str, name: str) -> dict[str, int]:
    try:
        with aside.cursor(using) as cursor:
            cursor.execute(_TABLES, [name])
            return dict(cursor.fetchall())
    except (DatabaseError, InterfaceError) as error:
        raise CacheUnavailable(f"Postgres does not say what {name} has: {error}") from error


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
    """As in a new process."""
    _tables.clear()
    _asks.cache_clear()


def _follow(*, setting: str, **kwargs: object) -> None:
    if setting in ("CACHELAYER", "DATABASES"):
        forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.tenancy")
os.register_at_fork(after_in_child=forget)
