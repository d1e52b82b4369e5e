"""What the statistics say, with Redis and without."""

import pytest

from cachelayer import counters, link, stats
from cachelayer.gate import gate


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
    }


def test_they_count_rows_hits_misses_and_bypasses():
    counters.add("hit", 2)
    counters.add("miss", 1)
    counters.add("bypass", 5)
    link.client().set("note:1", b'{"id":1}')
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


def test_without_redis_they_say_so_and_guess_nothing(monkeypatch):
    def away(commands):
        raise link.RedisError("away")

    counters.add("hit", 2)
    with monkeypatch.context() as outage:
        outage.setattr(link, "_send", away)
        report = stats.collect()
    shown = report.pop("gate")
    assert shown["state"] == "open"
    assert "away" in shown["reason"]
    assert shown["since"].endswith("+00:00")
    assert report.pop("redis") == "down"
    assert set(report.values()) == {None}
    gate.reset()
    assert stats.collect()["total_hits"] == 2, "counted when Redis is back"
