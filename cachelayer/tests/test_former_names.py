"""What stays of the first release for one more: names that do nothing, and say so."""

import warnings

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import signals
from django.test.utils import isolate_apps

import cachelayer
from cachelayer.representation import registration, registry
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.serializers import NoteSerializer, stamp


def test_a_manager_warns_where_it_is_made_and_is_djangos():
    with pytest.warns(DeprecationWarning, match=r"CachedManager .* Use models\.Manager") as said:
        manager = cachelayer.CachedManager()
    assert [warning.filename for warning in said] == [__file__]
    assert manager._queryset_class is models.QuerySet


def test_a_subclass_of_the_manager_warns_when_it_is_made():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Shelves(cachelayer.CachedManager):
            pass

    with pytest.warns(DeprecationWarning, match="CachedManager"):
        Shelves()


def test_a_subclass_of_the_queryset_warns_where_it_is_made():
    with pytest.warns(DeprecationWarning, match=r"CachedQuerySet .* Use models\.Query") as said:

        class Shelves(cachelayer.CachedQuerySet):
            pass

    assert [warning.filename for warning in said] == [__file__]


def test_a_manager_from_the_queryset_still_works():
    assert issubclass(models.Manager.from_queryset(cachelayer.CachedQuerySet), models.Manager)


@isolate_apps()
@pytest.mark.filterwarnings("ignore:cachelayer:DeprecationWarning")
def test_a_model_with_the_former_manager_can_still_be_queried():
    class Shelf(models.Model):  # noqa: DJ008
        objects = cachelayer.CachedManager()

        class Meta:
            app_label = "bookshop"
            db_table = "bookshop_tag"
            base_manager_name = "objects"

    assert type(Shelf.objects.all()) is models.QuerySet
    assert type(Shelf._base_manager.all()) is models.QuerySet


def test_names_that_are_gone_are_gone():
    assert not hasattr(cachelayer, "raw_sql")


def test_to_register_twice_alike_does_nothing():
    before = [cached.model for cached in registry.all_cached()]
    receivers = len(signals.post_save.receivers)
    cachelayer.register(Note, NoteSerializer)
    cachelayer.register(Note, NoteSerializer, prefix="note")
    assert [cached.model for cached in registry.all_cached()] == before
    assert len(signals.post_save.receivers) == receivers


@pytest.mark.parametrize(
    ("serializer", "prefix", "why"),
    [
        (stamp, "note", "Register each serializer of a model once"),
        (NoteSerializer, "memo", "Register each serializer of a model once"),
        (stamp, None, r"too late.* Import its module in AppConfig.ready\(\)"),
    ],
)
def test_to_register_a_model_in_two_ways_is_refused(serializer, prefix, why):
    with pytest.raises(ImproperlyConfigured, match=why):
        cachelayer.register(Note, serializer, prefix=prefix)
    assert registry.find(Note, stamp) is None
    assert registry.get(Note) == registration.CachedModel(Note, NoteSerializer, "note")
