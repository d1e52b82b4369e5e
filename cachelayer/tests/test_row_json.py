"""What is pushed of the notice's row is, byte for byte, what a plain read of the row gives."""

import datetime
from contextlib import contextmanager

import pytest
from django.db import connection, connections, models, transaction
from django.db.models.functions import Concat
from django.test.utils import isolate_apps
from hypothesis import given, settings
from hypothesis import strategies as st

from cachelayer.redis import variants
from cachelayer.representation import row_json
from cachelayer.tests.columns import KINDS, LEGACY, Doubled
from cachelayer.tests.every_write import sql
from cachelayer.tests.things import (
    by_rest_framework,
    cached,
    every,
    extension,
    is_pushed_as_read,
    made,
    model,
    shown,
    value_of,
)
from cachelayer.tests.truth import logged, registered, repaired, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _heard():
    connection.ensure_connection()
    yield
    assert logged() == set()


@pytest.fixture
def taken(monkeypatch):
    """How often the row in a notice was enough."""
    count = []
    render = row_json.render

    def counted(*args):
        row = render(*args)
        count.append(row)
        return row

    monkeypatch.setattr(row_json, "render", counted)
    return count


@pytest.mark.parametrize("serializer", [shown, by_rest_framework])
@pytest.mark.parametrize("name", KINDS)
def test_a_column_of_any_kind(name, serializer, taken):
    kind = KINDS[name]
    model = made(value=kind.field())
    if serializer is by_rest_framework:
        serializer = by_rest_framework(model)
    with extension(name), cached(model, serializer=serializer):

        @every(kind)
        def each_value(value):
            is_pushed_as_read(model, lambda: model(pk=1, value=value).save())
            is_pushed_as_read(model, lambda: model.objects.filter(pk=1).update(value=value))

        each_value()
        assert bool(taken) == kind.is_exact
        for literal in kind.literals:
            value_of(model, f"value = {literal}")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", None])
@pytest.mark.parametrize("name", ["moment", "date", "time", "array of moments"])
def test_a_connection_with_a_time_zone_of_its_own(zone, name, settings, monkeypatch):
    """DATABASES[…]["TIME_ZONE"]; None: USE_TZ is off, and TIME_ZONE is the connection's."""
    if zone:
        monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    else:
        settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
        # Not as another release: what is pushed is looked for under the plain key.
        monkeypatch.setattr(variants, "_own", {})
    forget_zone()
    try:
        kind, model = KINDS[name], made(value=KINDS[name].field())
        with cached(model):

            @every(kind)
            def each_value(value):
                if isinstance(value, datetime.datetime) and not zone:
                    value = value.replace(tzinfo=None)
                if isinstance(value, list) and not zone:
                    value = [each and each.replace(tzinfo=None) for each in value]
                is_pushed_as_read(model, lambda: model(pk=1, value=value).save())

            each_value()
            held = [value_of(model, f"value = {literal}") for literal in kind.literals]
            assert name != "moment" or sum(map(bool, held)) >= 4
    finally:
        monkeypatch.undo()
        forget_zone()


def forget_zone():
    connection.close()
    for name in ("timezone", "timezone_name"):
        connections["default"].__dict__.pop(name, None)


SETTINGS = [
    "timezone = 'Europe/Berlin'",
    "timezone = '-03:30'",
    "datestyle = 'SQL, DMY'",
    "datestyle = 'German'",
    "intervalstyle = 'sql_standard'",
    "intervalstyle = 'iso_8601'",
    "bytea_output = escape",
    "extra_float_digits = 0",
    "extra_float_digits = -15",
    "extra_float_digits = 3",
    "standard_conforming_strings = off",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_session_with_settings_of_its_own(setting):
    """What is pushed of a column of any exact kind is what everybody else reads."""
    columns = {f"v{n}": kind.field() for n, kind in enumerate(KINDS.values()) if kind.is_exact}
    strategies = [kind.values for kind in KINDS.values() if kind.is_exact]
    model = made(**columns)
    for field in model._meta.concrete_fields[1:]:
        field.null = True

    def all_shown(instance):
        return {name: f"{getattr(instance, name)!r}" for name in columns}

    with cached(model, serializer=all_shown):
        model.objects.create(pk=1)

        @settings(max_examples=25, deadline=None, derandomize=True, database=None)
        @given(values=st.tuples(*strategies))
        def each_row(values):
            def write():
                with transaction.atomic():
                    model.objects.update(**dict(zip(columns, values, strict=True)))
                    sql(f"SET LOCAL {setting}")
                    # Of plain letters; the rest of the row is as it was.
                    model.objects.update(v0=1)

            is_pushed_as_read(model, write, may_be_invalidated=True)

        each_row()


@contextmanager
def types_of_its_own():
    sql("CREATE TYPE weekday AS ENUM ('monday'); CREATE DOMAIN percentage AS integer")
    try:
        yield
    finally:
        sql("DROP TYPE weekday CASCADE; DROP DOMAIN percentage CASCADE")


@pytest.mark.parametrize("name", LEGACY)
def test_a_column_of_another_type_than_its_field_has(name):
    """A table that Django has not made, or whose column somebody has altered."""
    column_type, field, literals = LEGACY[name]
    model = made(value=field(null=True))
    with extension(name), types_of_its_own():
        sql(f"CREATE TABLE {model._meta.db_table} (id int8 PRIMARY KEY, value {column_type})")
        try:
            are_pushed_as_read(model, literals)
        finally:
            sql(f"DROP TABLE {model._meta.db_table}")


def are_pushed_as_read(model, literals):
    sql(f"INSERT INTO {model._meta.db_table} VALUES (1)")
    for serializer in (shown, by_rest_framework(model)):
        with registered(model, serializer):
            for literal in literals:
                value_of(model, f"value = {literal}")


def test_a_foreign_key_to_a_key_with_a_conversion_of_its_own(taken):
    with isolate_apps("cachelayer.tests.bookshop"):
        parent = model("Key", id=Doubled(primary_key=True))
        child = model("Thing", value=models.ForeignKey(parent, models.CASCADE, db_constraint=False))
    for serializer in (lambda found: {"value": found.value_id}, by_rest_framework(child)):
        with cached(child, serializer=serializer):
            sql(f'INSERT INTO "{child._meta.db_table}" (value_id) VALUES (4)')
            held = value_of(child, "value_id = 5")
            assert b"twice 10" in held
            assert taken


def test_a_generated_column_whose_field_has_a_conversion_of_its_own(taken):
    model = made(
        base=models.IntegerField(),
        value=models.GeneratedField(
            expression=models.F("base") + 1, output_field=Doubled(), db_persist=True
        ),
    )
    with cached(model):
        model.objects.create(pk=1, base=1)
        assert b"twice 8" in value_of(model, "base = 3")
        assert taken


def test_a_base_manager_that_adds_to_a_row_or_hides_it():
    class Adding(models.Manager):
        def get_queryset(self):
            found = super().get_queryset().exclude(value="hidden")
            return found.annotate(twice=Concat("value", "value"))

    meta = type("Meta", (), {"app_label": "bookshop", "base_manager_name": "adding"})
    model = made(value=models.TextField(), adding=Adding(), Meta=meta)
    with cached(model, serializer=lambda found: {"twice": found.twice}):
        model(pk=1, value="a").save()
        assert value_of(model, "value = 'b'") == b'{"twice":"bb"}'
        assert value_of(model, "value = 'hidden'") == b"null"


def test_a_row_too_large_for_its_notice_is_read(taken):
    with cached(made(value=models.TextField())) as model:
        model.objects.create(pk=1, value="")
        taken.clear()
        value_of(model, "value = repeat('ä', 10000)")
        value_of(model, "value = string_agg FROM (SELECT string_agg(md5(n::text), '') "
                        "FROM generate_series(1, 5000) AS n) AS large")  # fmt: skip
        assert not taken
        sql(f"UPDATE {model._meta.db_table} SET id = 2")
        assert told(model, 1) is None
        assert len(told(model, 2)["value"]) > 150_000


def test_a_session_whose_letters_are_too_few_for_the_row():
    """It may write the row, though it could not read it; a notice would fail the write."""
    with cached(made(value=models.TextField(), count=models.IntegerField(default=0))) as model:
        model.objects.create(pk=1, value="\u20ac \U0001f600")
        with transaction.atomic():
            sql("SET LOCAL client_encoding = 'LATIN1'")
            sql(f"UPDATE {model._meta.db_table} SET count = 1")
        repaired("thing:1")
        assert told(model, 1)["value"] == "str '\u20ac \U0001f600'"
