"""The bytes that a write pushes are the bytes that a reader would fill."""

import datetime
import uuid
from decimal import Decimal

import pytest
from django.core import serializers
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cachelayer
from cachelayer import exactness, link
from cachelayer.tests.bookshop.models import Author, Book, Note, SignedNote, Stamp
from cachelayer.tests.fresh import empty_redis

pytestmark = pytest.mark.django_db(transaction=True)

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
money = st.one_of(
    st.none(),
    st.decimals(min_value=-9999, max_value=9999, places=2),
    st.decimals(min_value=-9999, max_value=9999, places=1),
    st.integers(-9999, 9999),
    st.sampled_from(["1.5", "2.50", 1.25, Decimal("-0.00")]),
)
moments = st.one_of(
    st.none(),
    st.datetimes(
        min_value=datetime.datetime(1900, 1, 1),
        max_value=datetime.datetime(2200, 1, 1),
        timezones=st.sampled_from(
            [datetime.UTC, datetime.timezone(datetime.timedelta(hours=5, minutes=30))]
        ),
    ),
)
columns = st.fixed_dictionaries(
    {
        "text": text,
        "stars": st.integers(-(2**31), 2**31 - 1),
        "price": money,
        "weight": st.one_of(
            st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 99)
        ),
        "printed": moments,
    }
)


def create(note, values):
    Note.objects.create(**values)


def create_with_text_id(note, values):
    Note.objects.create(id=str(uuid.uuid4()).upper(), **values)


def save(note, values):
    for name, value in values.items():
        setattr(note, name, value)
    note.save()


def save_proxy(note, values):
    save(SignedNote.objects.get(pk=note.pk), values)


def save_some_fields(note, values):
    for name, value in values.items():
        setattr(note, name, value)
    note.save(update_fields=["text", "stars", "price"])


def save_deferred(note, values):
    save(Note.objects.only("text", "stars").get(pk=note.pk), {"text": values["text"]})


def save_expression(note, values):
    note.text = Concat(Value(values["text"]), Value("!"))
    note.stars = F("stars") + 1
    note.save()


def update(note, values):
    Note.objects.filter(pk=note.pk).update(**values)


def update_expression(note, values):
    Note.objects.update(stars=F("stars") - 1, text=Value(values["text"]))


def bulk_create(note, values):
    Note.objects.bulk_create([Note(**values), Note(**values)])


def bulk_create_upsert(note, values):
    Note.objects.bulk_create(
        [Note(id=note.pk, **values), Note(**values)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["text", "stars"],
    )


def bulk_create_ignoring(note, values):
    Note.objects.bulk_create([Note(id=note.pk, **values), Note(**values)], ignore_conflicts=True)


def bulk_update(note, values):
    for name, value in values.items():
        setattr(note, name, value)
    Note.objects.bulk_update([note], list(values))


def get_or_create(note, values):
    Note.objects.get_or_create(id=uuid.uuid4(), defaults=values)


def update_or_create(note, values):
    Note.objects.update_or_create(id=note.pk, defaults=values)


def load_fixture(note, values):
    note.text = values["text"]
    fixture = serializers.serialize("json", [note])
    with transaction.atomic():
        for loaded in serializers.deserialize("json", fixture):
            loaded.save()


def raw_sql(note, values):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET text = %s", [values["text"]])
        cachelayer.invalidate(Note, note.pk)


WAYS = [
    create, create_with_text_id, save, save_proxy, save_some_fields, save_deferred,
    save_expression, update, update_expression, bulk_create, bulk_create_upsert,
    bulk_create_ignoring, bulk_update, get_or_create, update_or_create, load_fixture, raw_sql,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(values=columns)
def test_pushed_bytes_equal_filled_bytes(way, values):
    Note.objects.all().delete()
    note = Note.objects.create(text="before", stars=3)
    empty_redis()
    way(note, values)
    pushed = {key: link.client().get(key) for key in link.client().scan_iter("note:*")}
    assert pushed, "this write reached no key"
    empty_redis()
    for pk in Note.objects.values_list("pk", flat=True):
        filled = cachelayer.read(Note, pk)
        assert filled.outcome == "miss"
        assert pushed.get(f"note:{pk}".encode(), filled.row) == filled.row


def test_what_the_database_decides_is_read_again(value):
    book = Book.objects.create(title="abc")
    assert b'"title_length":3' in value(f"book:{book.pk}")
    assert b'"stock":7' in value(f"book:{book.pk}")


def test_json_is_read_again_as_postgres_reorders_its_keys(value):
    book = Book.objects.create(title="a", extra={"long": 1, "b": (2, 3)})
    pushed = value(f"book:{book.pk}")
    empty_redis()
    assert cachelayer.read(Book, book.pk).row == pushed


def test_a_table_with_a_trigger_is_read_again(value):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.text := upper(NEW.text); RETURN NEW; END $$; "
            "CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON bookshop_stamp "
            "FOR EACH ROW EXECUTE FUNCTION shout()"
        )
    try:
        stamp = Stamp.objects.create(text="quiet")
        [bulk] = Stamp.objects.bulk_create([Stamp(text="calm")])
        assert b"QUIET" in value(f"stamp:{stamp.pk}")
        assert b"CALM" in value(f"stamp:{bulk.pk}")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION shout CASCADE")


@pytest.mark.parametrize(
    ("column", "exact", "inexact"),
    [
        ("text", "plain", Value("x")),
        ("stars", 1, True),
        ("stars", 1, "1"),
        ("price", Decimal("1.50"), Decimal("1.5")),
        ("price", Decimal("1.50"), Decimal("NaN")),
        ("price", Decimal("0.00"), Decimal("-0.00")),
        ("weight", 1.0, 1),
        ("printed", datetime.datetime.now(datetime.UTC), "2026-01-01T00:00:00Z"),
        ("updated", datetime.datetime.now(datetime.UTC), None),
    ],
)
def test_only_values_that_come_back_as_they_are_count_as_the_row(column, exact, inexact):
    note = Note.objects.create()
    setattr(note, column, exact)
    assert exactness.is_the_row(note)
    setattr(note, column, inexact)
    assert not exactness.is_the_row(note)


def test_foreign_keys_count_by_the_column_they_point_to():
    columns = exactness._columns(Book)
    assert columns is None, "a book has a generated column and JSON"
    assert exactness._predicate(Book._meta.get_field("author")) is exactness._predicate(
        Author._meta.pk
    )
