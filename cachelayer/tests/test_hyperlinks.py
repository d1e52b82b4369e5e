"""URLs in cached rows begin with the base that is set, whoever writes or reads the row."""

import json

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import clear_url_caches, set_script_prefix, set_urlconf
from django.utils import translation
from rest_framework import serializers

from cachelayer.checks import configuration, views
from cachelayer.contrib import public_routes
from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.redis import transport
from cachelayer.representation import hyperlinks, registration, registry
from cachelayer.tests.bookshop.models import Book, Note
from cachelayer.tests.twins.models import Page
from cachelayer.tests.twins.urls import Urls
from cachelayer.tests.twins.views import public_pages

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def base(settings):
    """Set ``BASE_URL``; the twins' URLs are the site's."""
    settings.ROOT_URLCONF = Urls(CachedViewMixin)
    clear_url_caches()

    def set_base(url):
        settings.CACHELAYER = {**django_settings.CACHELAYER, "BASE_URL": url}

    return set_base


def in_redis(page):
    return json.loads(transport.client().get(f"page:{page.pk}"))


@pytest.mark.parametrize("begin", ["https://example.org", "http://example.org:8000/shop"])
def test_a_write_pushes_urls_that_begin_with_the_base(base, begin):
    base(begin)
    first = Page.objects.create(title="first", picture="a b.png")
    second = Page.objects.create(title="second", parent=first)
    assert in_redis(second) == {
        "url": f"{begin}/pages/{second.pk}/",
        "title": "second",
        "parent": f"{begin}/pages/{first.pk}/",
        "picture": None,
    }
    # A file's path is of the storage, which has its own.
    assert in_redis(first)["picture"] == "/".join([*begin.split("/")[:3], "a%20b.png"])


@pytest.fixture
def elsewhere():
    """This thread serves a request below another path, with other URLs, in another language."""
    set_script_prefix("/elsewhere/")
    set_urlconf(Urls())
    with translation.override("de"):
        yield
    set_script_prefix("/")
    set_urlconf(None)


def test_the_request_that_writes_changes_no_url(base, elsewhere):
    base("https://example.org")
    page = Page.objects.create(title="one")
    assert in_redis(page)["url"] == f"https://example.org/pages/{page.pk}/"


def get(path, **headers):
    answer = Client().get(path, headers=headers)
    return answer.json()["url"], answer["X-Cache"]


def test_a_request_to_another_host_gets_its_own_urls_and_leaves_the_cache_alone(base, settings):
    settings.ALLOWED_HOSTS = ["testserver", "localhost"]
    base("http://testserver")
    page = Page.objects.create(title="one")
    path = f"/pages/{page.pk}/"
    assert get(path) == (f"http://testserver{path}", "HIT")
    assert get(path, host="localhost") == (f"http://localhost{path}", "BYPASS")
    assert get(f"{path}?format=json") == (f"http://testserver{path}?format=json", "BYPASS")
    assert get(path[:-1] + ".json") == (f"http://testserver{path[:-1]}.json", "BYPASS")
    assert get(path) == (f"http://testserver{path}", "HIT")


def test_without_a_base_a_view_answers_without_the_cache_and_no_write_fails(base):
    base("")
    page = Page.objects.create(title="one")
    assert get(f"/pages/{page.pk}/") == (f"http://testserver/pages/{page.pk}/", "BYPASS")


def test_e032_urls_without_a_base(base):
    base("")
    problems = {problem.obj.__name__: problem for problem in views.check_urls()}
    assert problems.keys() == {"Page", "Upload"}
    assert problems["Page"].id == "cachelayer.E032"
    assert "CACHELAYER['BASE_URL']" in problems["Page"].hint
    base("https://example.org")
    assert views.check_urls() == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "example.org",
            "ftp://example.org",
            "https://",
            "//example.org",
            "https://a:b@example.org",
        ),
        *("https://example.org?x=1", "https://example.org#x", "https://Example.org"),
        *("https://example.org:443", "http://example.org:80", "http://example.org:http"),
    ],
)
def test_e003_a_base_that_no_request_comes_to(base, url):
    base(url)
    assert [problem.id for problem in configuration.check_settings()] == ["cachelayer.E003"]


@pytest.mark.parametrize(
    "url", ["", "http://localhost:8000", "https://example.org/", "https://example.org/shop"]
)
def test_a_base_is_a_scheme_a_host_and_perhaps_a_port_and_a_path(base, url):
    base(url)
    assert configuration.check_settings() == []


def test_it_is_said_that_there_is_no_request():
    with pytest.raises(AttributeError, match="without a request, so there is no user"):
        hyperlinks.Base().user  # noqa: B018


def test_no_url_is_relative_to_a_page(base):
    base("https://example.org")
    assert hyperlinks.Base().build_absolute_uri("//cdn.example/a") == "https://cdn.example/a"
    assert hyperlinks.Base().build_absolute_uri("http://cdn.example/a") == "http://cdn.example/a"
    with pytest.raises(ImproperlyConfigured, match="begins with a slash"):
        hyperlinks.Base().build_absolute_uri("media/a")


def test_the_layer_below_django_leaves_rows_with_urls_to_django(base):
    base("http://testserver")
    found = {route.cached.model.__name__ for route in public_routes.find()}
    assert "Page" not in found
    assert found  # Public rows without a URL it answers itself.
    assert public_pages(CachedViewMixin).rows_are_public


def problems_of(monkeypatch, model, **fields):
    meta = type("Meta", (), {"model": model, "fields": [*fields]})
    shown = type("Shown", (serializers.ModelSerializer,), {"Meta": meta, **fields})
    monkeypatch.setattr(
        registry, "_registered", {model: registration.CachedModel(model, shown, "shelf")}
    )
    return [problem.id for problem in configuration.check_models()]


def test_the_own_url_of_a_row_and_the_key_of_another_in_one_are_of_the_row(monkeypatch):
    own = serializers.HyperlinkedIdentityField(view_name="x")
    assert problems_of(monkeypatch, Note, url=own) == []
    other = serializers.HyperlinkedRelatedField(view_name="x", read_only=True)
    assert problems_of(monkeypatch, Book, author=other) == []


def test_a_url_made_of_another_rows_column_is_followed(monkeypatch):
    slug = serializers.HyperlinkedRelatedField(view_name="x", read_only=True, lookup_field="name")
    assert problems_of(monkeypatch, Book, author=slug) == []
    assert list(registry.get(Book).shown.paths()) == ["author"]


def test_w001_an_own_url_that_is_computed(monkeypatch):
    own = serializers.HyperlinkedIdentityField(view_name="x", lookup_field="computed")
    assert problems_of(monkeypatch, Note, url=own) == ["cachelayer.W001"]
