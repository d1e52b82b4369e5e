"""System checks of the registered models: what the cache could not follow is refused."""

import pytest
from django.db import models
from django.test.utils import isolate_apps
from rest_framework import serializers

from cachelayer import CachedManager, CachedQuerySet, checks, registry
from cachelayer.tests.bookshop.models import Author, Book, Note, SignedNote


def ids(problems):
    return [problem.id for problem in problems]


@pytest.fixture
def registered(monkeypatch):
    """Check only this registration."""

    def register(model, serializer):
        cached = registry.CachedModel(model, serializer, "shelf")
        monkeypatch.setattr(registry, "_registered", {model: cached})

    return register


@isolate_apps()
def test_e006_a_manager_that_passes_the_cache_by(registered):
    class Shelf(models.Model):  # noqa: DJ008
        objects = CachedManager()
        quick = models.Manager()  # noqa: DJ012

        class Meta:
            app_label = "bookshop"
            base_manager_name = "objects"

    registered(Shelf, dict)
    [problem] = checks.check_models()
    assert problem.id == "cachelayer.E006"
    assert "Shelf.quick" in problem.msg


def test_e006_a_manager_of_a_proxy_that_passes_the_cache_by(monkeypatch):
    plain = models.Manager()
    plain.model, plain.name = SignedNote, "signed"
    monkeypatch.setitem(SignedNote._meta.__dict__, "managers", (plain,))
    [problem] = checks.check_models()
    assert problem.id == "cachelayer.E006"
    assert "SignedNote.signed" in problem.msg


@isolate_apps()
def test_a_manager_built_on_the_queryset_is_fine(registered):
    class ShelfManager(models.Manager.from_queryset(CachedQuerySet)):
        pass

    class Shelf(models.Model):  # noqa: DJ008
        objects = ShelfManager()

        class Meta:
            app_label = "bookshop"
            base_manager_name = "objects"

    registered(Shelf, dict)
    assert checks.check_models() == []


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
def test_e007_a_column_of_the_related_row(registered, field):
    registered(Book, serializer(["author"], author=field))
    [problem] = checks.check_models()
    assert problem.id == "cachelayer.E007"
    assert "ShownSerializer.author" in problem.msg


@pytest.mark.parametrize(
    "field",
    [
        serializers.StringRelatedField(many=True),
        serializers.SlugRelatedField(many=True, slug_field="name", read_only=True),
    ],
    ids=["StringRelatedField", "SlugRelatedField"],
)
def test_e007_columns_of_many_related_rows(registered, field):
    registered(Book, serializer(["tags"], tags=field))
    assert ids(checks.check_models()) == ["cachelayer.E007"]


def test_e007_rows_that_point_here(registered, monkeypatch):
    """Which they are changes when they do."""
    books = serializers.PrimaryKeyRelatedField(source="book_set", many=True, read_only=True)
    registered(Author, serializer(["books"], of=Author, books=books))
    monkeypatch.setattr(checks, "_wrong_managers", lambda cached: [])
    assert ids(checks.check_models()) == ["cachelayer.E007"]


def test_ids_of_related_rows_are_fine(registered):
    registered(Book, serializer(["author", "author_id", "tags", "pk"]))
    assert checks.check_models() == []


def test_w001_a_field_that_is_computed(registered):
    computed = serializers.SerializerMethodField(method_name="get")
    registered(Note, serializer(["stars_left"], Note, stars_left=computed, get=lambda *args: 1))
    assert ids(checks.check_models()) == ["cachelayer.W001"]


def test_w001_a_property_of_the_model(registered, monkeypatch):
    monkeypatch.setattr(Note, "shout", property(lambda note: note.text.upper()), raising=False)
    registered(Note, serializer(["shout"], Note))
    assert ids(checks.check_models()) == ["cachelayer.W001"]
