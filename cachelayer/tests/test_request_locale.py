"""In another time zone or language a view shows what it would without the cache."""

import pytest
from django.utils import timezone, translation
from django.utils.translation import gettext
from rest_framework import serializers
from rest_framework.test import APIRequestFactory
from rest_framework.viewsets import ModelViewSet

import cachelayer
from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.representation import registry
from cachelayer.representation.registration import CachedModel
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.serializers import FilmSerializer, NoteSerializer

pytestmark = pytest.mark.django_db(transaction=True)


class Text(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]


class Said(Text):
    said = serializers.SerializerMethodField()

    class Meta(Text.Meta):
        fields = [*Text.Meta.fields, "said"]

    def get_said(self, note):
        return gettext("Yes")


class Shouted(Text):
    shout = serializers.ReadOnlyField()

    class Meta(Text.Meta):
        fields = [*Text.Meta.fields, "shout"]


class InUTC(Text):
    updated = serializers.DateTimeField(default_timezone=timezone.get_default_timezone())

    class Meta(Text.Meta):
        fields = [*Text.Meta.fields, "updated"]


@pytest.fixture
def answers(monkeypatch, settings):
    """The row as a view shows it, with the mixin and without: X-Cache, and whether they agree."""
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}
    monkeypatch.setattr(Note, "shout", property(lambda note: gettext("Yes")), raising=False)

    def ask(serializer, row, is_public):
        model = type(row)
        cached = CachedModel(model, serializer, registry.find(model).prefix)
        if registry.find(model) != cached:
            monkeypatch.setitem(registry._registered, model, cached)
            cachelayer.invalidate(model, row.pk)

        class Plain(ModelViewSet):
            queryset = model.objects.all()
            serializer_class = serializer

        class Cached(CachedViewMixin, Plain):
            rows_are_public = is_public

        said = [
            view.as_view({"get": "retrieve"})(APIRequestFactory().get("/"), pk=row.pk).render()
            for view in (Cached, Plain)
        ]
        assert said[0].content == said[1].content
        return said[0]["X-Cache"]

    return ask


@pytest.mark.parametrize("is_public", [True, False])
@pytest.mark.parametrize(
    ("serializer", "in_tokyo", "in_german"),
    [
        (NoteSerializer, "BYPASS", "HIT"),
        (Text, "HIT", "HIT"),
        (InUTC, "HIT", "HIT"),
        (Said, "BYPASS", "BYPASS"),
        (Shouted, "BYPASS", "BYPASS"),
        (FilmSerializer, "HIT", "HIT"),
    ],
)
def test_what_a_request_has_activated(answers, is_public, serializer, in_tokyo, in_german):
    row = serializer.Meta.model.objects.create()
    answers(serializer, row, is_public)
    assert answers(serializer, row, is_public) == "HIT"
    with timezone.override("Asia/Tokyo"):
        assert answers(serializer, row, is_public) == in_tokyo
    with translation.override("de"):
        assert answers(serializer, row, is_public) == in_german
    assert answers(serializer, row, is_public) == "HIT"
