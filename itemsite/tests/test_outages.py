"""Postgres stops, is killed, comes back; then Redis as well: what gunicorn answers meanwhile."""

import subprocess
import threading
import time
from contextlib import closing

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from cachelayer.telemetry import buffered_metrics
from itemsite.tests.running_site import COLD, HOT, running_site, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory):
    with running_site(tmp_path_factory) as site:
        yield site


@pytest.fixture
def site(whole_site):
    """All is well; the hot item is cached, the cold one is not."""
    whole_site.postgres.start()
    whole_site.redis.start()
    until(whole_site.is_well)
    assert whole_site.ask("POST", "/cache/clear").status == 200
    # Over the mark that a COMMIT without an answer may have left: it stands for a minute.
    assert whole_site.ask("PATCH", HOT, {"price": 1}).status == 200
    # Each of the workers: one may notice only now that Postgres was away.
    until(lambda: all(whole_site.get(HOT).headers["x-cache"] == "HIT" for _ in range(20)))
    return whole_site


def assert_away(answer, *, service="Postgres"):
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/json"
    assert service in answer.json["detail"]


@pytest.fixture(params=["stop", "kill"])
def without_postgres(request, site):
    getattr(site.postgres, request.param)()
    return site


def test_without_postgres_hits_are_served(without_postgres):
    for _ in range(20):
        answer = without_postgres.get(HOT)
        assert answer.status == 200
        assert answer.headers["x-cache"] == "HIT"
        assert answer.json["name"]


def test_without_postgres_misses_and_lists_are_503(without_postgres):
    for _ in range(6):
        assert_away(without_postgres.get(COLD))
        assert_away(without_postgres.get("/items"))


def test_without_postgres_writes_are_503_and_nothing_is_half_done(without_postgres):
    site = without_postgres
    hot = site.get(HOT).text
    for _ in range(4):
        assert_away(site.ask("POST", "/items", {"name": "Lamp", "price": 1}))
        for path in (HOT, COLD):
            assert_away(site.ask("PATCH", path, {"price": 1}))
            assert_away(site.ask("PUT", path, {"name": "Lamp", "price": 1}))
            assert_away(site.ask("DELETE", path))
    assert site.get(HOT).text == hot
    assert site.get(HOT).headers["x-cache"] == "HIT", "no mark was left behind"
    site.postgres.start()
    assert "Lamp" not in [name for _, name, _ in site.rows()]
    assert len(site.rows()) == 5
    until(lambda: site.get(COLD).status == 200)
    assert site.get(HOT).text == hot


def test_without_postgres_health_says_so(without_postgres):
    answer = without_postgres.get("/health")
    assert answer.status == 503
    assert answer.json["dependencies"] == {"redis": "ok", "postgres": "down"}
    assert answer.json["cache"]["repair"] is None


def test_without_postgres_the_statistics_and_the_metrics_answer(without_postgres):
    stats = without_postgres.get("/cache/stats")
    assert stats.status == 200
    assert stats.json["cached_items"] == 1
    assert stats.json["gate"]["state"] == "closed"
    assert stats.json["repair"] == {"backlog": None, "lag_seconds": None}
    metrics = without_postgres.get("/metrics")
    assert metrics.status == 200
    assert "cachelayer_gate_open" in metrics.text
    assert "cachelayer_repair_backlog" not in metrics.text


def test_without_postgres_the_cache_can_be_cleared(without_postgres):
    assert without_postgres.ask("POST", "/cache/clear").json["keys_deleted"] == 1
    assert_away(without_postgres.get(HOT))


def test_a_miss_without_postgres_leaves_no_lease_that_outlives_it(without_postgres):
    """The reader that took the lease could not load the row; the next one can."""
    site = without_postgres
    assert_away(site.get(COLD))
    site.postgres.start()
    until(lambda: site.get(COLD).status == 200)
    until(lambda: site.get(COLD).headers["x-cache"] == "HIT")


def test_when_postgres_is_back_everything_works_with_nobodys_help(without_postgres):
    site = without_postgres
    for path in (HOT, COLD, "/items"):
        site.get(path)
        site.ask("PATCH", HOT, {"price": 1})
    site.postgres.start()
    for number in range(10):
        # Both workers, and every connection that broke.
        assert site.ask("PATCH", HOT, {"price": number}).status == 200
        assert site.get(HOT).json["price"] == number
        assert site.get("/items").status == 200
    until(site.is_well)
    assert site.get(COLD).status == 200


def test_a_postgres_killed_under_writes_loses_none_that_was_acknowledged(site):
    """What was answered with 503 may have been committed, or not; nobody is told an old row."""
    acknowledged, tried = [0], [0]
    killed = threading.Event()

    def write():
        for number in range(1, 10_000):
            tried.append(number)
            answer = site.ask("PATCH", HOT, {"price": number})
            if answer.status != 200:
                assert_away(answer)
                return
            acknowledged.append(number)
            if number == 30:
                killed.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert killed.wait(30)
    site.postgres.kill()
    writer.join(30)
    assert not writer.is_alive()
    site.postgres.start()
    until(lambda: site.get(COLD).status == 200)
    [[price]] = [[row[2]] for row in site.rows() if str(row[0]) in HOT]
    assert price in (acknowledged[-1], tried[-1])
    assert [site.get(HOT).json["price"] for _ in range(20)] == [price] * 20


def test_a_paused_postgres_takes_neither_hits_nor_health_along(site):
    site.postgres.pause()
    try:
        for _ in range(20):
            assert site.get(HOT).headers["x-cache"] == "HIT"
        assert site.get("/health").status == 503
        assert site.get("/cache/stats").json["repair"]["backlog"] is None
        assert site.get("/metrics").status == 200
    finally:
        site.postgres.resume()
    until(site.is_well)


def test_without_both_everything_is_503_and_comes_back_by_itself(site):
    before = site.rows()
    site.redis.kill()
    site.postgres.stop()
    for _ in range(4):
        for path in (HOT, COLD, "/items"):
            assert_away(site.get(path))
        assert_away(site.ask("PATCH", HOT, {"price": 1}))
        assert_away(site.ask("POST", "/items", {"name": "Lamp", "price": 1}))
    health = site.get("/health")
    assert health.status == 503
    assert health.json["dependencies"] == {"redis": "down", "postgres": "down"}
    stats = site.get("/cache/stats")
    assert stats.status == 200
    assert stats.json["total_hits"] is None
    assert stats.json["repair"]["backlog"] is None
    assert site.get("/metrics").status == 200
    assert_away(site.ask("POST", "/cache/clear"), service="Redis")
    site.redis.start()
    site.postgres.start()
    until(site.is_well)
    assert site.rows() == before
    assert site.ask("PATCH", HOT, {"price": 5}).status == 200
    assert site.get(HOT).json["price"] == 5
    # The other worker's gate may close a moment later.
    until(lambda: site.get(HOT).headers["x-cache"] == "HIT")


def test_a_write_without_redis_waits_for_a_postgres_that_is_back_first(site):
    """The reconcile needs both; what was written in between is seen at once."""
    site.redis.kill()
    assert site.ask("PATCH", HOT, {"price": 6}).status == 200
    site.postgres.stop()
    site.redis.start()
    assert_away(site.get(HOT))
    assert_away(site.ask("PATCH", HOT, {"price": 7}))
    site.postgres.start()
    until(lambda: site.get(HOT).status == 200)
    assert site.get(HOT).json["price"] == 6
    until(site.is_well)
    assert site.get(HOT).json["price"] == 6
    assert site.get("/cache/stats").json["repair"]["backlog"] == 0


def test_a_mark_that_nobody_will_push_gives_way_to_the_next_write(site):
    """A writer was killed, or Postgres was, while it committed."""
    key = HOT.removeprefix("/").replace("items/", "item:")
    with closing(redis.Redis.from_url(site.redis.url)) as client:
        client.set(key, f"w:gone:{time.time_ns() // 10**6 + 60_000}")
    assert site.get(HOT).headers["x-cache"] == "BYPASS"
    assert site.ask("PATCH", HOT, {"price": 8}).status == 200
    answer = site.get(HOT)
    assert (answer.headers["x-cache"], answer.json["price"]) == ("HIT", 8)


def samples(site):
    families = text_string_to_metric_families(site.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("cachelayer_")
    }


def test_metrics_are_those_of_all_workers(site):
    def hits():
        return samples(site)["cachelayer_reads_total", "row", "hit"]

    # What a worker has noted, it adds up within half a second.
    time.sleep(2 * buffered_metrics.INTERVAL)
    before = hits()
    for _ in range(30):
        site.get(HOT)
    until(lambda: hits() >= before + 30)
    assert hits() == before + 30


def test_the_gates_of_all_workers_are_counted_and_a_killed_workers_is_not(site):
    workers = len(site.web.workers)
    assert samples(site)[("cachelayer_gate_open",)] == 0
    site.redis.kill()

    def open_gates():
        site.get(HOT)
        return samples(site)[("cachelayer_gate_open",)]

    until(lambda: open_gates() == workers)
    subprocess.run(["kill", "-9", str(site.web.workers[0])], check=True)
    until(lambda: len(site.web.workers) == workers)
    # The new one has to find out for itself.
    until(lambda: open_gates() == workers)
    site.redis.start()
    until(lambda: samples(site)[("cachelayer_gate_open",)] == 0)
