"""The witness: triggers that report which cached rows a statement has written, or log them.

Every table behind a cached row (the model's table, those of its parents and of its many-to-many
links) has triggers with one function (``witness.sql``). So has every table whose rows documents
show. ``migrate`` installs, updates and removes the triggers; no app needs a migration for them. So
the cache learns of every write, by any program. If the statement asks for notices
(``statement_listener.py``), its sender gets one; otherwise the keys go into the repair log.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import resources
from typing import Any, Final

from django.apps import AppConfig
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import variants
from cachelayer.representation import registration, registry, tenancy
from cachelayer.representation.computed import Computed
from cachelayer.representation.registration import AnyModel
from cachelayer.representation.registry import Cached
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log
from cachelayer.tracking.tracked_tables import FUNCTION, Relation, inspect, texts

logger = logging.getLogger("cachelayer.triggers")

_BODY: Final = resources.files("cachelayer.tracking").joinpath("witness.sql").read_text()
VERSION: Final = int(_BODY.partition("\n")[0].rpartition(" ")[2])
_LOG: Final = "cachelayer_repair"

#: For each kind of statement, the rows that its trigger gets.
_ROWS: Final = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}


def problems(connection: BaseDatabaseWrapper) -> list[str]:
    """A message for each table whose writes this process would miss. Raises ``DatabaseError``."""
    version, relations = inspect(connection)
    if version < VERSION:
        what = f"has version {version} of" if version else "lacks"
        return [f"The database {connection.alias!r} {what} the trigger function {FUNCTION}."]
    found = [
        f"The table {relation.name} lacks the trigger for {operation}, or it is disabled or old."
        for relation in relations
        if relation.kind in "rp"
        for operation in _ROWS
        if relation.lacks(operation)
    ]
    found += [
        f"{relation.name} is not a table, so it cannot have triggers. Register the model of the "
        "table that it shows."
        for relation in relations
        if relation.kind not in "rp"
    ]
    return found


def prefixes(connection: BaseDatabaseWrapper) -> set[str]:
    """The key prefixes that the triggers name, also those of other programs.

    Raises ``DatabaseError``.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgargs FROM pg_trigger WHERE tgfoid = to_regproc(%s)", [FUNCTION])
        return {prefix for (found,) in cursor.fetchall() for prefix in texts(found)[1::2]}


#: The remedy for every problem except the last one.
MEND: Final = "Run `manage.py migrate`: it installs the triggers of cached tables."


def install(using: str) -> set[str]:
    """Install the function and triggers that this release needs; drop triggers of other tables.

    Returns the key prefixes whose rows may have been written unseen, because a trigger was missing,
    disabled or old. Idempotent; two at a time wait for each other. Raises ``DatabaseError``.
    """
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [FUNCTION])
        cursor.execute(
            "SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace "
            "ON pg_namespace.oid = relnamespace WHERE pg_class.oid = %s::regclass",
            [_LOG],
        )
        [schema] = cursor.fetchone()
        version, relations = inspect(connection)
        if version <= VERSION:  # The function of a later release also serves this one.
            _install_function(cursor, schema)
        unseen: set[str] = set()
        for relation in relations:
            if relation.kind in "rp":
                if any(map(relation.lacks, _ROWS)):
                    unseen |= relation.columns.keys()
                _install_on(cursor, schema, relation)
        _drop_others(cursor, relations)
        # Log in this transaction. In a second one, this process could be killed before it: the
        # triggers would exist, but nothing would tell that rows were written without them.
        repair_log.log(connection, [f"{prefix}:{EVERY}" for prefix in unseen])
    return unseen


def _install_function(cursor: Any, schema: str) -> None:
    body = _BODY.replace("{schema}", schema)
    cursor.execute("SELECT prosrc FROM pg_proc WHERE oid = to_regproc(%s)", [FUNCTION])
    if cursor.fetchone() != (body,):
        cursor.execute(
            f"CREATE OR REPLACE FUNCTION {schema}.{FUNCTION}() RETURNS trigger LANGUAGE plpgsql "
            "SECURITY DEFINER SET search_path = pg_catalog, pg_temp "
            f"AS $witness${body}$witness$"
        )


def _install_on(cursor: Any, schema: str, relation: Relation) -> None:
    for operation, referencing in _ROWS.items():
        if relation.triggers.get(operation) == (True, relation.arguments):
            continue
        name = f"cachelayer_{operation.lower()}"
        arguments = ", ".join(map(_literal, relation.arguments))
        cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {relation.name}")
        # A TRUNCATE of a partitioned table also fires its partitions' triggers; that is harmless.
        cursor.execute(
            f"CREATE TRIGGER {name} AFTER {operation} ON {relation.name} {referencing} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{FUNCTION}({arguments})"
        )
        # Fire also when session_replication_role is "replica".
        cursor.execute(f"ALTER TABLE {relation.name} ENABLE ALWAYS TRIGGER {name}")


def _literal(text: str) -> str:
    # DDL statements accept no parameters that the server binds.
    return "'" + text.replace("'", "''") + "'"


def _drop_others(cursor: Any, relations: Iterable[Relation]) -> None:
    # Only tables that this connection sees: other tenants' tables are in other schemas, and a table
    # that a tenant's table hides belongs to connections without a tenant.
    cursor.execute(
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger "
        "WHERE tgfoid = to_regproc(%s) AND pg_table_is_visible(tgrelid)",
        [FUNCTION],
    )
    watched_names = {relation.name for relation in relations}
    for name, table in cursor.fetchall():
        if table not in watched_names:
            cursor.execute(f"DROP TRIGGER {name} ON {table}")


def after_migrate(sender: AppConfig, using: str, plan: Iterable[Any] = (), **kwargs: Any) -> None:
    """After ``migrate``: install the triggers, and drop cached rows of changed tables.

    With the layer switched off, do so only if there are triggers, because other processes may have
    it on. Without triggers nothing needs to be logged, because no process reads from the cache.
    """
    if using not in registry.databases() or not _is_migrated(using):
        return
    if not conf.get().ENABLED and not _has_function(using):
        return
    install(using)
    tenancy.forget()
    variants.claim(using)
    changed = {migration.app_label for migration, _ in plan}
    with transaction.atomic(using=using):
        for cached in registry.every():
            labels = {model._meta.app_label for model in _models(cached)}
            if cached.database == using and labels & changed:
                # A tenant whose table does not exist yet has no cached rows.
                with suppress(CacheUnavailable):
                    repair_log.log(connections[using], [f"{cached.start}:{EVERY}"])


def _models(cached: Cached) -> Iterator[AnyModel]:
    if isinstance(cached, Computed):
        yield from cached.shown_models()
        return
    yield cached.model
    yield from cached.model._meta.all_parents
    for link in registration.links(cached):
        yield link.remote_field.through  # type: ignore[misc]
    if cached.shown:
        yield from cached.shown.each_model()


def _is_migrated(using: str) -> bool:
    """Whether the triggers' tables exist; they do not after ``migrate cachelayer zero``."""
    return _is_there(using, "to_regclass('cachelayer_epoch')")


def _has_function(using: str) -> bool:
    return _is_there(using, f"to_regproc('{FUNCTION}')")


def _is_there(using: str, what: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {what} IS NOT NULL")
        return bool(cursor.fetchone()[0])
