"""What a serializer reads that is not its row is named, with the field and the line."""

import logging
import re

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import override_settings
from django.test import utils as test_utils
from django.utils import timezone, translation
from django.utils.translation import gettext, gettext_lazy
from rest_framework import serializers

import cachelayer
from cachelayer.checks import configuration
from cachelayer.exceptions import UndeclaredRead
from cachelayer.representation import own_tables, recorder, registry
from cachelayer.representation.registration import CachedModel
from cachelayer.tests.bookshop.models import Audiobook, Author, Book, Note, Tag
from cachelayer.tests.bookshop.serializers import BookSerializer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def book():
    author = Author.objects.create(name="Jane")
    book = Book.objects.create(title="Emma", author=author)
    book.tags.add(Tag.objects.create(name="novel"))
    return book


@pytest.fixture
def shown(monkeypatch):
    """Read *row* as *serializer* shows it."""

    def show(serializer, row):
        model = type(row)
        cached = CachedModel(model, serializer, registry.find(model).prefix)
        monkeypatch.setitem(registry._registered, model, cached)
        cachelayer.invalidate(model, row.pk)
        return cachelayer.read(model, row.pk).row

    return show


def fails(shown, serializer, row, field, what, line=None):
    """Reading *row* is an error that names *field* and *what*, in a line that has *line*."""
    with pytest.raises(UndeclaredRead) as raised:
        shown(serializer, row)
    said = str(raised.value)
    name = f"{serializer.__qualname__}.{field}" if field else serializer.__qualname__
    assert f"{name} {what}" in said
    assert type(row)._meta.label in said
    assert "do not register" in said
    assert ("in depends_on" in said) is what.startswith("queries")
    if line:
        [path, number] = re.search(r"at (\S+):(\d+)\.", said).groups()
        with open(path) as source:
            assert line in source.read().splitlines()[int(number) - 1]


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


class Method(serializers.ModelSerializer):
    others = serializers.SerializerMethodField()

    class Meta:
        model = Book
        fields = ["id", "others"]

    def get_others(self, book):
        return Book.objects.filter(author_id=book.author_id).count()


class Representation(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["id"]

    def to_representation(self, book):
        return {**super().to_representation(book), "by": book.author.name}


class Names(serializers.ModelSerializer):
    names = serializers.SerializerMethodField()

    class Meta:
        model = Book
        fields = ["id", "names"]

    def get_names(self, book):
        return [tag.name for tag in book.tags.all()]


class Caught(Representation):
    def to_representation(self, book):
        try:
            return super().to_representation(book)
        except Exception:
            return {"id": book.pk}


def function(book):
    return {"id": book.pk, "by": book.author.name}


@pytest.mark.parametrize(
    ("serializer", "field", "table", "line"),
    [
        (Method, "others", "bookshop_book", "Book.objects.filter"),
        (Representation, "", "bookshop_author", "book.author.name"),
        (Names, "names", "bookshop_book_tags, bookshop_tag", "book.tags.all()"),
        (Caught, "", "bookshop_author", "book.author.name"),
        (function, "", "bookshop_author", "book.author.name"),
    ],
)
def test_a_query_for_another_row(book, shown, serializer, field, table, line):
    fails(shown, serializer, book, field, f"queries {table} for more than this row", line)


def test_a_property_with_a_query(book, shown, monkeypatch):
    def by(self):
        return self.author.name

    monkeypatch.setattr(Book, "by", property(by), raising=False)

    class Property(serializers.ModelSerializer):
        class Meta:
            model = Book
            fields = ["id", "by"]

    fails(shown, Property, book, "by", "queries bookshop_author", "return self.author.name")


def test_raw_sql_and_tables_in_a_schema(book, shown):
    def counted(book):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM public.bookshop_publisher")
            return {"id": cursor.fetchone()[0]}

    fails(shown, counted, book, "", "queries public", "SELECT count")


class Keys(BookSerializer):
    """Links by their keys, however they are asked for; a parent; a deferred column; no table."""

    keys = serializers.SerializerMethodField()

    class Meta(BookSerializer.Meta):
        fields = [*BookSerializer.Meta.fields, "keys"]

    def get_keys(self, book):
        ContentType.objects.clear_cache()
        ContentType.objects.get_for_model(Book)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        with transaction.atomic():
            return [*book.tags.values_list("pk", flat=True), book.tags.count()]


class Whole(serializers.ModelSerializer):
    book = serializers.SerializerMethodField()

    class Meta:
        model = Audiobook
        fields = ["id", "title", "book"]

    def get_book(self, audiobook):
        return Book.objects.get(pk=audiobook.pk).title


def test_what_is_declared_is_not_reported(book, shown):
    assert shown(Keys, book)
    assert shown(BookSerializer, book)
    assert shown(Whole, Audiobook.objects.create(title="Emma"))
    [deferred] = Book.objects.defer("title").filter(pk=book.pk)
    assert cachelayer.render(deferred)


class Asking(serializers.ModelSerializer):
    mine = serializers.SerializerMethodField()

    class Meta:
        model = Note
        fields = ["id", "mine"]

    def get_mine(self, note):
        return self.context["request"].user.pk


class AskingSoftly(Asking):
    def get_mine(self, note):
        return self.context.get("request") is not None


class Looking(Asking):
    def get_mine(self, note):
        return "request" in self.context


@pytest.mark.parametrize("serializer", [Asking, AskingSoftly, Looking])
def test_the_request(shown, serializer):
    fails(shown, serializer, Note.objects.create(), "mine",
          "reads 'request' from its context", "self.context")  # fmt: skip


class Translated(serializers.ModelSerializer):
    said = serializers.SerializerMethodField()

    class Meta:
        model = Note
        fields = ["id", "said"]

    def get_said(self, note):
        return gettext("Yes")


class Lazily(serializers.ModelSerializer):
    said = serializers.ReadOnlyField(source="label")

    class Meta:
        model = Note
        fields = ["id", "said"]


def test_a_language(shown, monkeypatch, settings):
    note = Note.objects.create()
    assert shown(Translated, note), "this project has one language"
    with translation.override("de"):
        fails(shown, Translated, note, "said", "translates", "gettext")
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    fails(shown, Translated, note, "said", "translates", "gettext")
    monkeypatch.setattr(Note, "label", gettext_lazy("Yes"), raising=False)
    fails(shown, Lazily, note, "", "translates")


class Local(Translated):
    def get_said(self, note):
        return str(timezone.localtime(note.updated))


class Plainly(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "updated"]

    def to_representation(self, note):
        return super().to_representation(note)


def test_a_time_zone(shown):
    note = Note.objects.create()
    assert shown(Local, note)
    with timezone.override("Asia/Tokyo"):
        fails(shown, Local, note, "said", "uses the time zone", "localtime")
        assert shown(Plainly, note), "REST framework's field is given the project's"


def test_a_write_in_a_test_fails_too(book, shown, monkeypatch):
    monkeypatch.setattr(own_tables, "links", lambda *args: ())
    monkeypatch.setitem(registry._registered, Book, CachedModel(Book, Representation, "book"))
    with pytest.raises(UndeclaredRead):
        book.save()


@pytest.fixture
def not_testing(monkeypatch):
    monkeypatch.delattr(test_utils._TestState, "saved_data")
    monkeypatch.setattr(recorder, "_logged", set())


def test_in_production_nothing_is_recorded(book, shown, not_testing, monkeypatch, caplog):
    monkeypatch.setattr(recorder, "_Watch", None)
    assert b"Jane" in shown(Representation, book)
    assert [record for record in caplog.records if record.name == "cachelayer.recorder"] == []


@pytest.mark.parametrize("configured", [{"DEBUG": True}, {"CACHELAYER": {"RECORDER": "log"}}])
def test_elsewhere_it_is_logged_once(book, shown, not_testing, caplog, configured):
    with override_settings(**configured), caplog.at_level(logging.ERROR, "cachelayer.recorder"):
        for _ in range(2):
            assert b"Jane" in shown(Representation, book)
        assert shown(Method, book)
    names = [record.name for record in caplog.records]
    assert names.count("cachelayer.recorder") == 2
    assert "Method.others" in caplog.text


def test_it_can_be_switched_off(book, shown, settings):
    settings.CACHELAYER = {"RECORDER": "off"}
    assert b"Jane" in shown(Representation, book)
    settings.CACHELAYER = {"RECORDER": "on"}
    assert [problem.id for problem in configuration.check_settings()] == ["cachelayer.E003"]


def test_a_view_of_its_own_is_not_watched(book):
    """Only what is rendered for the cache."""
    assert Representation(book).data["by"] == "Jane"
    assert gettext("Yes") == "Yes"
