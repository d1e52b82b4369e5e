"""What a request switches on in its thread, and a replica, are not in the bytes for everybody."""

import datetime
import threading
from contextlib import contextmanager

import orjson
import pytest
from django.db import connections, models
from django.db.models.fields import Field
from django.test import override_settings
from django.utils import timezone, translation
from django.utils.translation import gettext, gettext_lazy
from rest_framework import serializers

import cachelayer
from cachelayer.operations import inspect_key, verify, warm
from cachelayer.redis import variants
from cachelayer.representation import plans, registry
from cachelayer.representation.registration import CachedModel
from cachelayer.tests.bookshop.models import Film, Note, Tag
from cachelayer.tests.bookshop.serializers import FilmSerializer, NoteSerializer

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
NOON_AS_JSON = "2024-05-01T12:00:00Z"


@pytest.fixture(autouse=True)
def _unrecorded(settings):
    """These serializers read what they should not."""
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}


@pytest.fixture
def tokyo():
    with timezone.override("Asia/Tokyo"):
        yield


@pytest.fixture
def german():
    with translation.override("de"):
        yield


@contextmanager
def registered(serializer, model=Note):
    """*model* is registered with *serializer*, for a while."""
    before = registry._registered[model]
    registry._registered[model] = CachedModel(model, serializer, before.prefix)
    try:
        yield registry._registered[model]
    finally:
        registry._registered[model] = before


def held(value, note):
    # Of a shape of its own where a test has changed what rows are rendered by.
    [key] = variants.stored([f"note:{note.pk}"])
    return orjson.loads(value(key))


def written_filled_and_warmed(value):
    """A note's JSON, as a push, a fill and a warming leave it."""
    note = Note.objects.create(printed=NOON, text="tea", price="2.5")
    pushed = held(value, note)
    note.save()
    assert held(value, note) | {"updated": 0} == pushed | {"updated": 0}
    for again in (lambda: cachelayer.read(Note, note.pk), lambda: list(warm.warm(Note))):
        cachelayer.redis.transport.client().delete(f"note:{note.pk}")
        again()
        assert held(value, note)["printed"] == pushed["printed"]
    assert [report.differing for report in verify.verify()][-1:] == [0]
    assert inspect_key.inspect(Note, note.pk).verdict == "same"
    return pushed


class OfOneField(NoteSerializer):
    """Not plain: no plan is made of it."""

    def to_representation(self, instance):
        return super().to_representation(instance)


class Local(serializers.DateTimeField):
    def to_representation(self, value):
        return timezone.localtime(value).isoformat()


class OwnField(NoteSerializer):
    printed = Local()


def as_a_function(note):
    return {"id": note.pk, "printed": timezone.localtime(note.printed), "updated": note.updated}


@pytest.mark.parametrize("serializer", [NoteSerializer, OfOneField, OwnField, as_a_function])
def test_the_time_zone_of_a_request_is_in_no_cached_row(serializer, tokyo, value):
    with registered(serializer):
        printed = written_filled_and_warmed(value)["printed"]
    assert "+09:00" not in printed
    assert datetime.datetime.fromisoformat(printed) == NOON


def test_afterwards_the_thread_has_its_own_time_zone(tokyo):
    with registered(OfOneField):
        Note.objects.create(printed=NOON)
    assert timezone.get_current_timezone_name() == "Asia/Tokyo"


def test_another_default_time_zone_is_followed(value):
    note = Note.objects.create(printed=NOON)
    assert held(value, note)["printed"] == NOON_AS_JSON
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        note.save()
        # A shape of its own, which its first reader enters.
        cachelayer.read(Note, note.pk)
        assert held(value, note)["printed"] == "2024-05-01T21:00:00+09:00"
    note.save()
    assert held(value, note)["printed"] == NOON_AS_JSON


class OfZone(NoteSerializer):
    printed = serializers.DateTimeField(
        default_timezone=datetime.timezone(datetime.timedelta(hours=2))
    )


def test_a_time_zone_of_the_field_s_own_stays(tokyo, value):
    with registered(OfZone):
        assert written_filled_and_warmed(value)["printed"] == "2024-05-01T14:00:00+02:00"


class Translated(NoteSerializer):
    def to_representation(self, instance):
        return {**super().to_representation(instance), "said": gettext("Yes")}


def lazily(note):
    return {"id": note.pk, "printed": note.printed, "updated": "", "said": gettext_lazy("Yes")}


@pytest.mark.parametrize("serializer", [Translated, lazily])
def test_the_language_of_a_request_is_in_no_cached_row(serializer, german, value):
    assert gettext("Yes") == "Ja"
    with registered(serializer):
        assert written_filled_and_warmed(value)["said"] == "Yes"
    assert gettext("Yes") == "Ja"


class Localized(NoteSerializer):
    price = serializers.DecimalField(max_digits=8, decimal_places=2, localize=True)


def test_a_localized_number_is_written_as_the_project_writes_it(german, value):
    with registered(Localized):
        assert written_filled_and_warmed(value)["price"] == "2.50"


class Greeting(Field):
    def from_db_value(self, value, expression, connection):
        return gettext("Yes")


class OwnColumn(models.Model):
    greeting = Greeting()

    class Meta:
        app_label = "bookshop_unmigrated"

    def __str__(self):
        return self.greeting


class OwnColumnSerializer(serializers.Serializer):
    greeting = serializers.CharField()


@pytest.mark.parametrize(
    ("serializer", "model", "is_neutral"),
    [
        (NoteSerializer, Note, True),
        (OwnField, Note, False),
        (Localized, Note, False),
        (OwnColumnSerializer, OwnColumn, False),
    ],
)
def test_only_what_may_ask_costs_a_context(serializer, model, is_neutral):
    assert plans.plan_of(serializer, model).is_neutral is is_neutral


class Replicas:
    """A project's router: reads go to a replica, but those that a test looks with."""

    asked: list = []

    def db_for_read(self, model, **hints):
        self.asked.append(model)
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


@pytest.fixture
def replica():
    """A second alias, to a database in which nothing can be read."""
    Replicas.asked.clear()
    with override_settings(DATABASE_ROUTERS=[Replicas()]):
        connections.settings["replica"] = {**connections.settings["default"], "PORT": "1"}
        try:
            yield Replicas.asked
        finally:
            del connections.settings["replica"]


class Told(FilmSerializer):
    """What is read through managers, and of a related row."""

    names = serializers.SerializerMethodField()

    class Meta(FilmSerializer.Meta):
        fields = [*FilmSerializer.Meta.fields, "names"]

    def get_names(self, film):
        return [tag.name for tag in Tag.objects.filter(film=film)]


@pytest.mark.parametrize("serializer", [FilmSerializer, Told])
def test_links_come_from_the_primary(serializer, replica):
    film = Film.objects.create(title="Ran")
    tag = Tag.objects.create(name="war")
    Film.tags.through.objects.create(film=film, tag=tag)
    with registered(serializer, Film):
        replica.clear()
        row = orjson.loads(cachelayer.read(Film, film.pk).row)
        assert row["tags"] == [tag.pk]
        assert row.get("names", ["war"]) == ["war"]
        assert orjson.loads(cachelayer.render(film))["tags"] == [tag.pk]
    assert replica == []


def test_a_deferred_column_comes_from_the_primary(replica):
    Note.objects.create(text="tea")
    [deferred] = Note.objects.using("default").defer("text")
    replica.clear()
    assert orjson.loads(cachelayer.render(deferred))["text"] == "tea"
    assert replica == []


def test_elsewhere_the_projects_router_is_asked(replica):
    cachelayer.read(Film, 1)
    asked = []
    thread = threading.Thread(target=lambda: asked.append(Film.objects.all().db))
    thread.start()
    thread.join()
    assert [*asked, Film.objects.all().db] == ["replica", "replica"]
