"""How many rows are cached: what counts as one, and what the answer costs."""

import threading

import pytest

from cachelayer.operations import row_count
from cachelayer.redis import transport
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.polling import until

DEADLINE = 20
ROW = b'{"text": "a row that is long enough for Redis to keep it apart from its key"}'
SHORT_ROW = b'{"id":1}'


def put(count, prefix="note", row=ROW):
    transport.client().mset({f"{prefix}:{number}": row for number in range(count)})


def put_what_is_no_row():
    """Nine keys that are not cached rows."""
    redis = transport.client()
    redis.set("note:null", b"null")
    redis.set("note:mark", b"w:0123456789abcdef")
    redis.set("note:lease", b"r:0123456789abcdef")
    redis.hset("note:hash", "{", "{")
    redis.rpush("note:list", "{")
    redis.set("note:number", 12)
    redis.set("notebook:1", ROW)
    redis.set("session", ROW)
    redis.set(b"note\xff:1", ROW)


def wait_for_the_refresh():
    until(lambda: "cachelayer-census" not in {thread.name for thread in threading.enumerate()})


@pytest.fixture
def large(monkeypatch):
    """Every keyspace is a large one, walked in small steps."""
    monkeypatch.setattr(row_count, "SMALL", -1)
    monkeypatch.setattr(row_count, "STEP", 10)
    yield
    wait_for_the_refresh()


def test_an_empty_redis_holds_no_rows():
    assert row_count.count() == row_count.Census(0, exact=True)


def test_only_rows_of_cached_models_count():
    put(2500)
    put(3, "book", SHORT_ROW)
    put_what_is_no_row()
    assert row_count.count() == row_count.Census(2503, exact=True)


def test_a_large_keyspace_is_not_walked_while_the_caller_waits(large, monkeypatch):
    # Of ten keys, two that are no rows would be a sample by chance.
    monkeypatch.setattr(row_count, "STEP", 150)
    put(300)
    put_what_is_no_row()
    with stopped(row_count, "walk") as walk:
        first = start(row_count.count).result(DEADLINE)
        walk.reached()
        assert not first.exact
        assert 250 < first.rows <= 310, "an estimate from a sample"
        walk.release()
        wait_for_the_refresh()
    # The census has added two keys of its own, of which the walk saw one.
    assert abs(row_count.count().rows - 300) <= 1


def test_between_two_walks_new_rows_count_at_once(large, monkeypatch):
    put(300)
    row_count.count()
    wait_for_the_refresh()
    before = row_count.count().rows
    put(200, "book")
    assert row_count.count() == row_count.Census(before + 200, exact=False)


def test_rows_that_are_cached_during_the_walk_are_not_taken_for_something_else(large):
    put(300)
    with stopped(row_count, "walk", after=True) as walk:
        row_count.count()
        walk.reached()
        put(200, "book")
        walk.release()
        wait_for_the_refresh()
    assert abs(row_count.count().rows - 500) <= 1


def test_one_process_at_a_time_walks_a_large_keyspace(large, monkeypatch):
    put(100)
    walks = []
    with stopped(row_count, "walk") as walk:
        walker = start(row_count._refresh)
        walk.reached()
        with monkeypatch.context() as second:
            second.setattr(row_count, "walk", lambda **gently: walks.append(1))
            row_count._refresh()
            row_count.count()
            wait_for_the_refresh()
        walk.release()
        walker.result(DEADLINE)
    assert walks == []


def test_the_next_walk_is_due_after_a_while(large, monkeypatch):
    monkeypatch.setattr(row_count, "REFRESH", 0.001)
    put(100)
    row_count._refresh()
    for number in range(50):
        transport.client().set(f"session:{number}", ROW)
    assert row_count.count().rows > 120, "taken for rows until the next walk"

    def counted_anew():
        wait_for_the_refresh()
        return abs(row_count.count().rows - 100) <= 2

    until(counted_anew)


def test_a_large_keyspace_costs_at_most_two_round_trips_before_it_was_walked(
    large, monkeypatch, round_trips
):
    monkeypatch.setattr(row_count, "_refresh", lambda: None)
    put(300)
    row_count.count()
    assert round_trips == [["DBSIZE", "GET", "EXISTS"], ["EVALSHA"]]


def test_a_large_keyspace_that_was_walked_costs_one_round_trip(large, round_trips):
    put(300)
    row_count._refresh()
    round_trips.clear()
    row_count.count()
    assert round_trips == [["DBSIZE", "GET", "EXISTS"]]


def test_a_walk_that_takes_longer_than_the_refresh_stays_the_only_one(large, monkeypatch):
    lifetimes = []

    def pass_time(pause):
        lifetimes.append(transport.client().pttl(row_count._WALKED))
        transport.client().pexpire(row_count._WALKED, 5000)

    monkeypatch.setattr(row_count.time, "sleep", pass_time)
    put(100)
    row_count._refresh()
    assert len(lifetimes) > 1
    assert min(lifetimes) > 5000


def test_several_models_are_counted_in_one_walk(round_trips):
    put(2500)
    row_count.walk()
    assert len(round_trips) <= 2500 / row_count.STEP + 1


def test_keys_is_never_asked():
    def calls():
        stats = transport.client().info("commandstats")
        return stats.get("cmdstat_keys", {}).get("calls", 0)

    before = calls()
    put(2500)
    row_count.count()
    row_count._refresh()
    assert calls() == before


def test_a_count_does_not_make_rows_look_used_to_an_evicting_redis():
    redis = transport.client()
    redis.set("note:1", ROW)
    dump = redis.dump("note:1")
    redis.restore("note:1", 0, dump, replace=True, idletime=500)
    assert row_count.count().rows == 1
    assert redis.object("idletime", "note:1") >= 500
