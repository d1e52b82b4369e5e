"""System checks of the registered models: what the cache cannot follow is refused."""

from dataclasses import replace

import pytest
from django.db import models
from django.test.utils import isolate_apps
from rest_framework import serializers

from cachelayer.checks import configuration, documents, views
from cachelayer.representation import registration, registry
from cachelayer.tests.bookshop.models import Audiobook, Author, Book, Note, Stamp


def ids(problems):
    return [problem.id for problem in problems]


@pytest.fixture
def registered(monkeypatch):
    """Check only this registration."""

    def register(model, serializer):
        cached = registration.CachedModel(model, serializer, "shelf")
        monkeypatch.setattr(registry, "_registered", {model: cached})

    return register


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


def serializer(shown, of=Book, **fields):
    """A serializer of *of* with one more field, which it *shown*."""
    meta = type("Meta", (), {"model": of, "fields": ["id", *shown]})
    return type("ShownSerializer", (serializers.ModelSerializer,), {"Meta": meta, **fields})


@pytest.mark.parametrize(
    "field",
    [
        serializers.CharField(source="author.name"),
        AuthorSerializer(),
        serializers.StringRelatedField(),
        serializers.SlugRelatedField(slug_field="name", read_only=True),
    ],
    ids=lambda field: type(field).__name__,
)
def test_columns_of_a_related_row_are_followed(registered, field):
    registered(Book, serializer(["author"], author=field))
    assert configuration.check_models() == []
    assert list(registry.get(Book).shown.paths()) == ["author"]


@pytest.mark.parametrize(
    "field",
    [
        serializers.StringRelatedField(many=True),
        serializers.SlugRelatedField(many=True, slug_field="name", read_only=True),
    ],
    ids=["StringRelatedField", "SlugRelatedField"],
)
def test_columns_of_many_related_rows_are_followed(registered, field):
    registered(Book, serializer(["tags"], tags=field))
    assert configuration.check_models() == []
    assert list(registry.get(Book).shown.paths()) == ["tags"]


def test_rows_that_point_here_are_followed(registered):
    """Which they are changes when they do."""
    books = serializers.PrimaryKeyRelatedField(source="book_set", many=True, read_only=True)
    registered(Author, serializer(["books"], of=Author, books=books))
    assert configuration.check_models() == []
    assert list(registry.get(Author).shown.paths()) == ["book_set"]


def test_e007_a_path_that_there_is_not(registered):
    registered(Book, dict)
    mine = registry.get(Book)
    registry._registered[Book] = replace(mine, depends_on=("author__nothing",))
    [problem] = documents.check_documents()
    assert problem.id == "cachelayer.E007"
    assert "bookshop.Author has no relation 'nothing'" in problem.msg


def test_e007_rows_of_another_database(registered, settings):
    registered(Book, serializer(["author"], author=AuthorSerializer()))
    settings.DATABASE_ROUTERS = [AuthorsElsewhere()]
    [problem] = documents.check_documents()
    assert problem.id == "cachelayer.E007"
    assert "bookshop.Author, which are in another database" in problem.msg


class AuthorsElsewhere:
    def db_for_write(self, model, **hints):
        return "elsewhere" if model is Author else None


def test_ids_of_related_rows_are_fine(registered):
    registered(Book, serializer(["author", "author_id", "tags", "pk"]))
    assert configuration.check_models() == []


def test_w001_a_field_that_is_computed(registered):
    computed = serializers.SerializerMethodField(method_name="get")
    registered(Note, serializer(["stars_left"], Note, stars_left=computed, get=lambda *args: 1))
    assert ids(configuration.check_models()) == ["cachelayer.W001"]


def test_w001_a_representation_of_its_own(registered):
    def shout(self, note):
        return {"text": note.text.upper()}

    registered(Note, serializer(["text"], Note, to_representation=shout))
    [problem] = configuration.check_models()
    assert problem.id == "cachelayer.W001"
    assert "to_representation" in problem.msg
    assert "depends_on" in problem.hint


def test_w001_a_function(registered):
    """In production nobody looks what one queries of which nothing is declared."""
    registered(Book, written_by)
    [problem] = configuration.check_models()
    assert problem.id == "cachelayer.W001"
    assert "written_by is a function" in problem.msg
    registry._registered[Book] = replace(registry.get(Book), depends_on=("author",))
    assert configuration.check_models() == []


def test_a_function_of_a_row_without_relations_is_fine(registered):
    registered(Stamp, written_by)
    assert configuration.check_models() == []


def written_by(found):
    return {"author": found.author.name}


def test_what_is_computed_may_be_declared(registered):
    computed = serializers.SerializerMethodField(method_name="get")
    registered(Book, serializer(["names"], names=computed, get=lambda *args: 1))
    registry._registered[Book] = replace(registry.get(Book), depends_on=("tags",))
    assert configuration.check_models() == []


@pytest.mark.parametrize("name", ["get", "to_representation"])
def test_w032_a_serializer_that_needs_a_request(registered, name):
    def mine(self, note):
        return self.context["request"].user.pk

    field = serializers.SerializerMethodField(method_name="get")
    assert views.check_serializers() == []
    registered(Note, serializer(["mine"], Note, mine=field, **{"get": id, name: mine}))
    assert ids(views.check_serializers()) == ["cachelayer.W032"]


def test_w001_a_property_of_the_model(registered, monkeypatch):
    monkeypatch.setattr(Note, "shout", property(lambda note: note.text.upper()), raising=False)
    registered(Note, serializer(["shout"], Note))
    assert ids(configuration.check_models()) == ["cachelayer.W001"]


@isolate_apps()
def test_e014_a_child_with_a_primary_key_of_its_own(registered):
    class Memo(Note):
        number = models.AutoField(primary_key=True)
        note = models.OneToOneField(Note, on_delete=models.CASCADE, parent_link=True)

        class Meta:
            app_label = "bookshop"

    registered(Memo, dict)
    [problem] = configuration.check_models()
    assert problem.id == "cachelayer.E014"
    assert "bookshop.Memo and its parent bookshop.Note have different primary keys" in problem.msg


@isolate_apps()
def test_e014_links_that_do_not_name_the_primary_key(registered):
    class Shelf(models.Model):  # noqa: DJ008
        code = models.CharField(max_length=9, unique=True)
        labels = models.ManyToManyField("Label", through="ShelfLabel")

        class Meta:
            app_label = "bookshop"

    class Label(models.Model):  # noqa: DJ008
        class Meta:
            app_label = "bookshop"

    class ShelfLabel(models.Model):  # noqa: DJ008
        shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE, to_field="code")
        label = models.ForeignKey(Label, on_delete=models.CASCADE)

        class Meta:
            app_label = "bookshop"

    registered(Shelf, dict)
    [problem] = configuration.check_models()
    assert problem.id == "cachelayer.E014"
    assert "bookshop.Shelf.labels is linked by bookshop.Shelf.code" in problem.msg
    registered(Shelf, serializer(["code"], Shelf))
    assert configuration.check_models() == [], "it shows no links"


def test_a_child_that_has_its_parents_key_is_fine(registered):
    registered(Audiobook, dict)
    assert configuration.check_models() == []
