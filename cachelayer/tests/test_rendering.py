"""The short way to render gives the serializer's own bytes, or is not taken."""

import dataclasses
import datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.db.models import signals
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from rest_framework import serializers

from cachelayer.representation import plans, registry, rendering
from cachelayer.tests.bookshop.models import Author, Book, Note, Publisher
from cachelayer.tests.bookshop.serializers import BookSerializer, NoteSerializer

note_values = st.fixed_dictionaries(
    {
        "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        "stars": st.integers(-(2**31), 2**31 - 1),
        "price": st.none() | st.decimals(-999999, 999999, places=2),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "printed": st.none()
        | st.datetimes(datetime.datetime(1900, 1, 1), timezones=st.just(datetime.UTC)),
    }
)


def by_serializer(instance, serializer=NoteSerializer):
    return rendering.dump(serializer().to_representation(instance), serializer)


class Values(TestCase):
    @given(note_values)
    def test_instances_and_values_give_the_serializers_bytes(self, values):
        assert plans.plan_of(NoteSerializer, Note) is not None
        cached = registry.get(Note)
        note = Note(**values)
        assert cached.render(note) == by_serializer(note)
        Note.objects.bulk_create([note])
        [loaded] = Note.objects.filter(pk=note.pk)
        assert cached.render(loaded) == by_serializer(loaded)
        assert cached.load(Note.objects.filter(pk=note.pk)) == {note.pk: by_serializer(loaded)}


class Twice(serializers.ModelSerializer):
    """A column under two names."""

    title: Any = serializers.CharField(source="text")

    class Meta:
        model = Note
        fields = ["id", "text", "title", "stars"]


@pytest.mark.django_db
def test_each_column_is_asked_for_once(django_assert_num_queries):
    """Django 5.2 gives one value for a name that is asked for twice."""
    cached = dataclasses.replace(registry.get(Note), serializer=Twice)
    note = Note.objects.create(text="a", stars=3)
    with django_assert_num_queries(1) as asked:
        loaded = cached.load(Note.objects.filter(pk=note.pk))
    assert loaded == {note.pk: by_serializer(note, Twice)}
    for name in ("id", "text", "stars"):
        columns, _, _ = asked[0]["sql"].partition(" FROM ")
        assert columns.count(f'."{name}"') == 1


class Keyed(serializers.ModelSerializer):
    """Foreign keys, one of them by a field of its own."""

    house: Any = serializers.PrimaryKeyRelatedField(
        source="publisher", read_only=True, pk_field=serializers.CharField()
    )

    class Meta:
        model = Book
        fields = ["id", "title", "author", "house"]


class Related(serializers.PrimaryKeyRelatedField):
    def get_attribute(self, instance):
        return instance.author


class OwnRelation(serializers.ModelSerializer):
    author = Related(read_only=True)

    class Meta:
        model = Book
        fields = ["id", "author"]


@pytest.mark.django_db
@pytest.mark.parametrize("has_keys", [True, False])
def test_a_foreign_key_is_a_column(has_keys, django_assert_num_queries):
    author = Author.objects.create(name="a") if has_keys else None
    publisher = Publisher.objects.create(name="p") if has_keys else None
    book = Book.objects.create(title="b", author=author, publisher=publisher)
    plan = plans.plan_of(Keyed, Book)
    assert plan.columns == ["id", "title", "author_id", "publisher_id"]
    [values] = Book.objects.values_list(*plan.columns)
    [loaded] = Book.objects.all()
    with django_assert_num_queries(0):
        data = plan.data(values)
        assert data == Keyed().to_representation(loaded) == rendering.data(Keyed, loaded)
    assert data["house"] == (str(book.publisher_id) if has_keys else None)


def test_a_foreign_key_that_is_read_otherwise_is_no_column():
    class Told(Book):
        class Meta:
            proxy = True
            app_label = "bookshop"

        def serializable_value(self, field_name):
            return 7

    assert plans.plan_of(Keyed, Told) is None
    assert plans.plan_of(OwnRelation, Book) is None
    assert plans.plan_of(BookSerializer, Book) is None, "a link is of several rows"


class OwnField(serializers.IntegerField):
    def get_attribute(self, instance):
        return 7


def with_fields(**fields):
    shown = [name for name in fields if not name.startswith("get_")]
    meta = type("Meta", (), {"model": Note, "fields": ["id", "stars", *shown]})
    return type("Own", (serializers.ModelSerializer,), {"Meta": meta, **fields})


class OwnRepresentation(NoteSerializer):
    def to_representation(self, instance):
        return {**super().to_representation(instance), "stars": 99}


class Upper(serializers.CharField):
    def to_representation(self, value):
        return value.upper()


@pytest.mark.parametrize(
    ("serializer", "plain"),
    [
        (NoteSerializer, True),
        (with_fields(text=Upper()), True),
        (with_fields(renamed=serializers.CharField(source="text")), True),
        (with_fields(same=serializers.UUIDField(source="pk")), True),
        (with_fields(text=OwnField()), False),
        (with_fields(method=serializers.SerializerMethodField(), get_method=lambda s, o: 1), False),
        (with_fields(year=serializers.IntegerField(source="printed.year")), False),
        (OwnRepresentation, False),
        (BookSerializer, False),
        (lambda instance: {"id": 1}, False),
    ],
)
def test_only_plain_serializers_are_rendered_the_short_way(serializer, plain):
    model = Book if serializer is BookSerializer else Note
    assert (plans.plan_of(serializer, model) is not None) is plain
    if model is Note:
        printed = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        note = Note(text="tea", price=Decimal("1.50"), printed=printed)
        given = serializer(note) if not isinstance(serializer, type) else None
        theirs = rendering.dump(given, serializer) if given else by_serializer(note, serializer)
        assert rendering.dump(rendering.data(serializer, note), serializer) == theirs


@pytest.mark.django_db
def test_a_deferred_column_is_loaded():
    note = Note.objects.create(text="tea")
    [deferred] = Note.objects.defer("text").filter(pk=note.pk)
    assert orjson.loads(registry.get(Note).render(deferred))["text"] == "tea"


@pytest.mark.django_db
def test_a_model_that_changes_what_is_loaded_is_loaded_as_instances():
    note = Note.objects.create(stars=1)

    def louder(instance, **kwargs):
        instance.stars += 1

    signals.post_init.connect(louder, sender=Note)
    try:
        [row] = registry.get(Note).load(Note.objects.filter(pk=note.pk)).values()
    finally:
        signals.post_init.disconnect(louder, sender=Note)
    assert orjson.loads(row)["stars"] == 2
