"""What the statistics say, with Redis and without."""

import pytest
from django.db import connection, transaction

from cachelayer.operations import stats
from cachelayer.redis import transport
from cachelayer.telemetry import counters
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)


def test_they_begin_at_nothing():
    report = stats.collect()
    assert report.pop("gate")["state"] == "closed"
    assert report == {
        "cached_items": 0,
        "cached_items_exact": True,
        "total_hits": 0,
        "total_misses": 0,
        "total_bypasses": 0,
        "hit_rate": 0.0,
        "redis": "ok",
        "repair": {"backlog": 0, "lag_seconds": 0},
        "live_check": {"checked": 0, "stale": 0, "upper_bound": None},
    }


def test_they_count_rows_hits_misses_and_bypasses():
    counters.add("hit", 2)
    counters.add("miss", 1)
    counters.add("bypass", 5)
    transport.client().set("note:1", b'{"id":1}')
    report = stats.collect()
    assert report["cached_items"] == 1
    assert report["total_hits"] == 2
    assert report["total_misses"] == 1
    assert report["total_bypasses"] == 5
    assert report["hit_rate"] == 66.67


@pytest.mark.parametrize(
    ("hits", "misses", "rate"), [(0, 0, 0.0), (0, 3, 0.0), (3, 0, 100.0), (1, 2, 33.33)]
)
def test_the_hit_rate_is_in_percent_of_what_the_cache_could_answer(hits, misses, rate):
    assert stats.hit_rate(hits, misses) == rate


def test_without_redis_they_say_so_and_guess_nothing(away):
    report = stats.collect()
    shown = report.pop("gate")
    assert shown["state"] in ("settling", "open")
    assert "refused" in shown["reason"]
    assert shown["since"].endswith("+00:00")
    assert shown["changes"] in (1, 2)
    assert report.pop("redis") == "down"
    assert report.pop("repair") == {"backlog": 0, "lag_seconds": 0}
    assert set(report.pop("live_check").values()) == {None}
    assert set(report.values()) == {None}


@pytest.fixture
def no_postgres(monkeypatch):
    connection.close()
    with monkeypatch.context() as outage:
        outage.setitem(connection.settings_dict, "PORT", 1)
        yield


@pytest.mark.usefixtures("no_postgres")
def test_without_postgres_nobody_knows_the_repair_log():
    report = stats.collect()
    assert report["redis"] == "ok"
    assert report["cached_items"] == 0
    assert report["repair"] == {"backlog": None, "lag_seconds": None}


@pytest.mark.usefixtures("away", "no_postgres")
def test_without_both_they_still_answer():
    report = stats.collect()
    assert report["redis"] == "down"
    assert report["gate"]["state"] in ("settling", "open")
    assert report["repair"] == {"backlog": None, "lag_seconds": None}


def test_they_show_what_waits_in_the_repair_log():
    with transaction.atomic():
        repair_log.log(connection, ["note:1", "note:2"])
    shown = stats.collect()["repair"]
    assert shown["backlog"] == 2
    assert shown["lag_seconds"] > 0


def test_they_show_what_the_live_checks_found():
    counters.add("checked", 3000)
    assert stats.collect()["live_check"] == {"checked": 3000, "stale": 0, "upper_bound": 0.001}
