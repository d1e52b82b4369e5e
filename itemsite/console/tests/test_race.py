"""The race's row: the same write for both caches; the naive one goes stale, the real one does not.

Each of the naive cache's ways to go stale is forced here, step by step.
"""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from cachelayer.redis import transport
from items.models import Item
from itemsite.console import control_cache

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def race(client):
    made = client.post("/console/race").json()
    assert made["price"] == 0
    return Race(client, made["id"])


class Race:
    def __init__(self, client, pk):
        self.client, self.pk = client, pk
        self.path = f"/console/race/{pk}"

    def write(self):
        return self.client.put(self.path).json()["price"]

    def naive(self):
        answer = self.client.get(self.path)
        return answer.json()["price"], answer["X-Cache"]

    def real(self):
        answer = self.client.get(f"/items/{self.pk}")
        return answer.json()["price"], answer["X-Cache"]


@contextmanager
def held_back(monkeypatch):
    """SETs of the naive cache arrive when this block ends, in the order that is asked for."""
    late = []
    put = control_cache.put
    with monkeypatch.context() as patch:
        patch.setattr(control_cache, "put", lambda pk, row: late.append((pk, row)))
        yield late
    for pk, row in late:
        put(pk, row)


def test_one_write_is_told_to_both(race):
    assert [race.write(), race.write()] == [1, 2]
    assert race.naive() == (2, "HIT")
    assert race.real() == (2, "HIT")


def test_sets_in_another_order_than_the_commits(race, monkeypatch):
    with held_back(monkeypatch) as late:
        race.write(), race.write()
        late.reverse()
    assert race.naive() == (1, "HIT")
    assert race.real() == (2, "HIT")


def test_a_reader_that_fills_late(race, monkeypatch):
    transport.client().delete(f"naive:{race.pk}")
    with held_back(monkeypatch) as late:
        assert race.naive() == (0, "MISS")
        race.write()
        late.reverse()
    assert race.naive() == (0, "HIT")
    assert race.real() == (1, "HIT")


def test_redis_away_at_the_set(race, own_redis):
    race.write()
    own_redis.stop()
    assert race.write() == 2
    assert race.naive() == (2, "MISS")
    assert race.real() == (2, "BYPASS")
    own_redis.start()
    assert race.naive() == (1, "HIT")
    assert race.real()[0] == 2


def test_the_row_goes_with_the_race(race, client):
    assert client.delete(race.path).status_code == 204
    assert not Item.objects.filter(pk=race.pk).exists()
    assert transport.client().get(f"naive:{race.pk}") is None
    assert client.get(race.path).status_code == 404
    assert client.put(race.path).status_code == 404


def test_rows_of_races_that_were_left_go_with_the_next(race, client):
    long_ago = timezone.now() - timedelta(minutes=11)
    Item.objects.filter(pk=race.pk).update(created_at=long_ago)
    tea = client.post("/items", {"name": "Race", "price": 4.2}, "application/json").json()
    Item.objects.filter(pk=tea["id"]).update(created_at=long_ago)
    client.post("/console/race")
    assert client.get(f"/items/{race.pk}").status_code == 404
    assert client.get(f"/items/{tea['id']}").status_code == 200


def test_it_deletes_nobody_elses_row(client):
    tea = client.post("/items", {"name": "Race", "price": 4.2}, "application/json").json()
    assert client.delete(f"/console/race/{tea['id']}").status_code == 204
    assert client.get(f"/items/{tea['id']}").status_code == 200
