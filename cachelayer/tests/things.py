"""Models for one test each, their tables made and cached for a while; for ``test_row_json.py``."""

from contextlib import contextmanager

import pytest
from django.contrib.postgres.signals import get_citext_oids, get_hstore_oids, register_type_handlers
from django.db import DataError, connection, models
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given, reject, settings
from rest_framework import serializers

from cachelayer.redis import transport
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.tests.every_write import sql
from cachelayer.tests.truth import registered


def shown(instance):
    """Everything that can be seen of a value: its type, the sign of a zero, the fold of a time."""
    value = instance.value
    if isinstance(value, memoryview):
        value = bytes(value)
    return {"value": f"{type(value).__name__} {value!r}", "fold": getattr(value, "fold", None)}


def by_rest_framework(model):
    meta = type("Meta", (), {"model": model, "fields": "__all__"})
    return type("RowSerializer", (serializers.ModelSerializer,), {"Meta": meta})


@contextmanager
def extension(name):
    """The test is skipped where the server has not got it."""
    if name not in ("hstore", "citext"):
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_available_extensions WHERE name = %s", [name])
        if not cursor.rowcount:
            pytest.skip(f"This Postgres has no {name}: install its contrib package.")
        cursor.execute(f"CREATE EXTENSION {name}")
    try:
        forget_oids()
        yield
    finally:
        sql(f"DROP EXTENSION {name}")
        forget_oids()


def forget_oids():
    get_hstore_oids.cache_clear()
    get_citext_oids.cache_clear()
    register_type_handlers(connection)


def made(**columns):
    """A model, its table not made."""
    with isolate_apps("cachelayer.tests.bookshop"):
        return model("Thing", **columns)


def model(name, **columns):
    meta = type("Meta", (), {"app_label": "bookshop"})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **columns})


@contextmanager
def cached(model, serializer=shown):
    """*model*, its table made, and cached for a while."""
    with connection.schema_editor() as editor:
        editor.create_model(model)
    try:
        with registered(model, serializer):
            yield model
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(model)


def is_pushed_as_read(model, write, pk=1, *, may_be_invalidated=False):
    """Write; what is pushed is what a read gives. If nobody can read the row, nothing is."""
    key = registry.get(model).key(pk)
    transport.client().delete(key)
    try:
        write()
    except (DataError, ValueError, OverflowError):
        reject()
    try:
        [there] = read_rows(None, registry.get(model), [pk]).values()
    except Exception:
        there = None
    held = transport.client().get(key)
    assert held == there or (may_be_invalidated and held is None)
    return held


def value_of(model, literal):
    """Write by SQL, in one statement; what is pushed, which is what is read."""
    return is_pushed_as_read(model, lambda: sql(f'UPDATE "{model._meta.db_table}" SET {literal}'))


def every(kind, examples=25):
    def decorated(test):
        return settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(given(value=kind.values)(test))

    return decorated
