"""``/cache/stats`` and ``/cache/clear`` over HTTP."""

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

import cachelayer
from cachelayer.redis import transport
from cachelayer.tests.bookshop.models import Note

pytestmark = [pytest.mark.urls("cachelayer.urls"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def api():
    """A client that is logged in; who may clear is the project's to say."""
    client = APIClient()
    client.force_authenticate(get_user_model()(username="someone", is_staff=True))
    return client


def test_stats(api):
    note = Note.objects.create()
    cachelayer.read(Note, note.pk)
    answer = api.get("/stats")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Type"] == "application/json"
    stats = answer.json()
    assert stats.pop("gate").keys() == {"state", "since", "reason", "changes"}
    assert stats == {
        "cached_items": 1,
        "cached_items_exact": True,
        "total_hits": 1,
        "total_misses": 0,
        "total_bypasses": 0,
        "hit_rate": 100.0,
        "redis": "ok",
        "repair": {"backlog": 0, "lag_seconds": 0},
        "live_check": {"checked": 0, "stale": 0, "upper_bound": None},
    }


def test_stats_without_redis(api, away):
    answer = api.get("/stats")
    assert answer.status_code == 200
    stats = answer.json()
    assert stats["redis"] == "down"
    assert stats["gate"]["state"] in ("settling", "open")
    assert stats["total_hits"] is stats["hit_rate"] is stats["cached_items"] is None


def test_clear(api, value):
    note = Note.objects.create()
    transport.client().set("book:1", b"w:mark")
    answer = api.post("/clear")
    assert answer.status_code == 200
    assert answer.json() == {"status": "cleared", "keys_deleted": 1}
    assert value(f"note:{note.pk}") is None
    assert value("book:1") == b"w:mark"
    assert api.post("/clear").json()["keys_deleted"] == 0


def test_clear_keeps_the_counts(api):
    note = Note.objects.create()
    cachelayer.read(Note, note.pk)
    api.get("/stats")
    api.post("/clear")
    assert api.get("/stats").json()["total_hits"] == 1


def test_clear_without_redis(api, away):
    answer = api.post("/clear")
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert "Redis does not answer" in answer.content.decode()


@pytest.mark.parametrize(("method", "path"), [("get", "/clear"), ("post", "/stats")])
def test_another_method(api, method, path, value):
    note = Note.objects.create()
    assert getattr(api, method)(path).status_code == 405
    assert value(f"note:{note.pk}") is not None
