"""The witness: triggers that tell which cached rows a statement has written, or log them.

One trigger function (``sql/witness.sql``) stands on every table that a cached row is made
of (the model's own, those of its parents, those of its many-to-many links) and on every one
whose rows documents show. ``migrate`` installs it, brings it up to date and removes it; no
migration of any app is touched. So whoever writes a row, and however, the cache hears of it: the
sender is answered if its statement says that it listens (``statement_listener.py``), and anybody
else's keys go into the log.
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

#: Of each kind of statement: the rows that its trigger is given.
_ROWS: Final = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}


def problems(connection: BaseDatabaseWrapper) -> list[str]:
    """A sentence for each table whose writes this process would miss. Raises ``DatabaseError``."""
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
        f"{relation.name} is no table, so that it can have no triggers; register the model "
        "whose table it shows."
        for relation in relations
        if relation.kind not in "rp"
    ]
    return found


def prefixes(connection: BaseDatabaseWrapper) -> set[str]:
    """The key prefixes that the triggers name, whoever has registered them.

    Raises ``DatabaseError``.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgargs FROM pg_trigger WHERE tgfoid = to_regproc(%s)", [FUNCTION])
        return {prefix for (found,) in cursor.fetchall() for prefix in texts(found)[1::2]}


#: What mends every problem but the last.
MEND: Final = "Run `manage.py migrate`: it installs the triggers of cached tables."


def install(using: str) -> set[str]:
    """Make function and triggers what this release needs; drop those of tables it does not watch.

    Answers the key prefixes whose rows may have been written unseen, for a trigger was
    missing, disabled or old. Idempotent; two at a time wait for each other. Raises
    ``DatabaseError``.
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
        if version <= VERSION:  # A later release's does for this one as well.
            _install_function(cursor, schema)
        unseen: set[str] = set()
        for relation in relations:
            if relation.kind in "rp":
                if any(map(relation.lacks, _ROWS)):
                    unseen |= relation.columns.keys()
                _install_on(cursor, schema, relation)
        _drop_others(cursor, relations)
        # In this transaction: were it another, and this process killed before it, the triggers
        # would be there, and nothing would say that rows were written without them.
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
        # A TRUNCATE of a partitioned table fires its partitions' triggers as well: harmless.
        cursor.execute(
            f"CREATE TRIGGER {name} AFTER {operation} ON {relation.name} {referencing} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{FUNCTION}({arguments})"
        )
        # Also where session_replication_role is "replica".
        cursor.execute(f"ALTER TABLE {relation.name} ENABLE ALWAYS TRIGGER {name}")


def _literal(text: str) -> str:
    # No statement that defines something takes parameters from a server-side binding.
    return "'" + text.replace("'", "''") + "'"


def _drop_others(cursor: Any, relations: Iterable[Relation]) -> None:
    # Where this connection is: other tenants' tables are in schemas of their own, and a table
    # that a tenant's hides is for those who are at no tenant.
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
    """Follow ``migrate``: install, and drop cached rows of tables that it has changed.

    With the layer switched off, only where triggers are: others may have it on. Where there
    are none, nothing is logged; whoever has it on reads nothing from the cache without them.
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
                # A tenant's whose table is still to come has nothing cached.
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
    """Whether what the triggers need is there: not after ``migrate cachelayer zero``."""
    return _is_there(using, "to_regclass('cachelayer_epoch')")


def _has_function(using: str) -> bool:
    return _is_there(using, f"to_regproc('{FUNCTION}')")


def _is_there(using: str, what: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {what} IS NOT NULL")
        return bool(cursor.fetchone()[0])
