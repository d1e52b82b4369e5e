"""What changes the fingerprint of a representation, and what does not."""

import subprocess
import sys
import types

import pytest
from django.urls import include, path
from rest_framework import serializers

import cachelayer
from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.redis import epoch, transport
from cachelayer.representation import fingerprint
from cachelayer.tests.bookshop.models import Note, Novel
from cachelayer.tests.bookshop.serializers import NoteSerializer
from cachelayer.tests.commands import environment_here
from cachelayer.tests.twins.models import Page
from cachelayer.tests.twins.serializers import PageSerializer

SERIALIZER = """
from rest_framework import serializers
from cachelayer.tests.bookshop.models import Note

UNIT = "cm"

def half(value):
    return value / {half}

def unrelated():
    return {unrelated}

class Shown(serializers.ModelSerializer):
    stars = serializers.IntegerField(help_text="a")
    width = serializers.SerializerMethodField()

    def get_width(self, note):
        return [half(note.stars), UNIT, note.text in {{"a", "b", "c"}}]

    class Meta:
        model = Note
        fields = {fields}
"""


def made(half="2", unrelated="1", fields='["id", "stars", "width"]'):
    module = types.ModuleType("shown")
    exec(SERIALIZER.format(half=half, unrelated=unrelated, fields=fields), module.__dict__)
    return fingerprint.of(Note, module.Shown)


def test_the_same_code_has_the_same():
    assert made() == made()
    assert len(made()) == 12


@pytest.mark.parametrize("changed", [{"half": "4"}, {"fields": '["id", "width", "stars"]'}])
def test_what_it_shows_and_what_its_code_calls_change_it(changed):
    assert made(**changed) != made()


PRICES = """
from functools import partial

def scaled(value, by):
    return value * by

def tax(value):
    return value * {tax}

doubled = partial(scaled, by={by})
"""

USER = """
from rest_framework import serializers
{imports}

class Shown(serializers.Serializer):
    width = serializers.SerializerMethodField()

    def get_width(self, note):
        {inner}
        return {shown}
"""


@pytest.mark.parametrize(
    ("changed", "imports", "inner", "shown"),
    [
        ("tax", "import of_prices", "", "of_prices.tax(note.stars)"),
        ("tax", "", "import of_prices", "of_prices.tax(note.stars)"),
        ("tax", "", "from of_prices import tax", "tax(note.stars)"),
        ("by", "from of_prices import doubled", "", "doubled(note.stars)"),
    ],
)
def test_what_its_code_calls_by_another_module(monkeypatch, changed, imports, inner, shown):
    def made_with(**numbers):
        prices = types.ModuleType("of_prices")
        exec(PRICES.format(**{"tax": 1, "by": 1, **numbers}), prices.__dict__)
        monkeypatch.setitem(sys.modules, "of_prices", prices)
        module = types.ModuleType("shown")
        monkeypatch.setitem(sys.modules, "shown", module)
        text = USER.format(imports=imports, inner=inner or "pass", shown=shown)
        exec(text, module.__dict__)
        return fingerprint.of(Note, module.Shown)

    assert made_with() == made_with()
    assert made_with(**{changed: 2}) != made_with()


NESTED = """
from rest_framework import serializers
from cachelayer.tests.bookshop.models import Novel, Writer

class Inner(serializers.ModelSerializer):
    shout = serializers.SerializerMethodField()

    def get_shout(self, writer):
        return writer.name + {sign}

    class Meta:
        model = Writer
        fields = {fields}

class Shown(serializers.ModelSerializer):
    writer = Inner()

    class Meta:
        model = Novel
        fields = ["id", "writer"]
"""


@pytest.mark.parametrize("changed", [{"sign": '"?"'}, {"fields": '["id", "name", "shout"]'}])
def test_what_a_nested_serializer_shows_changes_it(changed):
    def made_with(**given):
        module = types.ModuleType("shown")
        text = NESTED.format(**{"sign": '"!"', "fields": '["id", "shout"]', **given})
        exec(text, module.__dict__)
        return fingerprint.of(Novel, module.Shown)

    assert made_with() == made_with()
    assert made_with(**changed) != made_with()


def test_a_line_elsewhere_in_the_file_does_not():
    assert made(unrelated="2") == made()


def test_a_setting_that_it_renders_by_changes_it(settings):
    before = fingerprint.of(Note, NoteSerializer)
    settings.TIME_ZONE = "Asia/Tokyo"
    assert fingerprint.of(Note, NoteSerializer) != before
    settings.TIME_ZONE = "UTC"
    settings.DEFAULT_FROM_EMAIL = "someone@example.com"
    assert fingerprint.of(Note, NoteSerializer) == before


@pytest.mark.parametrize("moved", ["base", "path"])
def test_where_urls_lead_changes_it_for_rows_that_show_one(settings, moved):
    pages = [path("pages/<pk>/", int, name="pages-detail")]
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": pages})()
    of_page, of_note = (Page, PageSerializer), (Note, NoteSerializer)
    before = fingerprint.of(*of_page), fingerprint.of(*of_note)
    assert fingerprint.of(*of_page) == before[0]
    if moved == "base":
        settings.CACHELAYER = {**settings.CACHELAYER, "BASE_URL": "https://elsewhere.example"}
    else:
        new = [path("v2/", include((pages, "v2")))]
        settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": new})()
    assert fingerprint.of(*of_page) != before[0]
    assert fingerprint.of(*of_note) == before[1]


def test_a_version_of_the_project_changes_it():
    assert fingerprint.of(Note, NoteSerializer, "2") != fingerprint.of(Note, NoteSerializer)


class Priced(Note):
    @property
    def taxed(self):
        return 1

    class Meta:
        proxy = True
        app_label = "bookshop"


class Dear(Note):
    @property
    def taxed(self):
        return 2

    class Meta:
        proxy = True
        app_label = "bookshop"


def test_code_of_the_model_counts_where_the_serializer_may_reach_it():
    class Plain(serializers.Serializer):
        stars = serializers.IntegerField()

    class Taxed(serializers.Serializer):
        taxed = serializers.IntegerField()

    assert fingerprint.of(Priced, Plain) == fingerprint.of(Dear, Plain)
    assert fingerprint.of(Priced, Taxed) != fingerprint.of(Dear, Taxed)


def view_of(queryset):
    return type("NotesView", (), {"queryset": queryset})


def test_a_views_queryset_counts_and_not_its_rows(transactional_db):
    """A worker that starts when there are other rows has the same keys for its pages."""
    found = set()
    for stars in range(2):
        Note.objects.create(stars=stars)
        found.add(fingerprint.of_function(view_of(Note.objects.all())))
    found.add(fingerprint.of_function(view_of(Note.objects.filter(stars=1))))
    found.add(fingerprint.of_function(view_of(Note.objects.none())))
    assert len(found) == 3


def test_what_a_process_has_done_since_does_not_count(transactional_db):
    """A view names this library, whose modules hold connections and what Postgres has said."""

    class View(CachedViewMixin):
        pass

    def found():
        return [fingerprint.of_function(View), fingerprint.of_function(read_with_the_cache)]

    cachelayer.read(Note, Note.objects.create(stars=1).pk)
    before = found()
    transport.forget_connections()
    epoch.forget()
    assert found() == before


def read_with_the_cache(pk):
    return cachelayer.read(Note, pk)


def test_every_process_finds_the_same(transactional_db):
    """Whatever the seed of its hashes, and the addresses of its objects."""
    program = (
        "import django; django.setup()\n"
        "from cachelayer.redis import variants\n"
        "from cachelayer.representation import registry\n"
        "print(sorted((c.prefix, variants.print_of(c)) for c in registry.all_cached()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**environment_here(), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert "note" in found.pop()
