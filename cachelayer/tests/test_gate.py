"""Faults of a real Redis: stopped, killed, restarted, paused, flushed."""

import logging
import threading

import orjson
import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

import cachelayer
from cachelayer import timing
from cachelayer.models import Repair
from cachelayer.protocol import commit, key_states, key_values, reconcile, signs_of_life, watchdog
from cachelayer.redis import epoch, incarnation, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.outages import closed, set_stars, stars, trust_this_redis
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def note(own_redis):
    return Note.objects.create(stars=1)


def test_a_stopped_redis_opens_the_gate_once_and_nothing_fails(own_redis, note, caplog):
    own_redis.stop()
    with caplog.at_level(logging.WARNING, "cachelayer.gate"):
        for count in (2, 3, 4):
            set_stars(note, count)
            assert stars(note) == count
            assert cachelayer.read(Note, note.pk).outcome == "bypass"
        until(lambda: gate.mode is Mode.OPEN)
    opened = [record for record in caplog.records if "Gate open" in record.getMessage()]
    assert len(opened) == 1
    assert gate.mode is Mode.OPEN
    assert "refused" in gate.state.reason


def test_an_open_gate_costs_no_round_trip(own_redis, note, round_trips):
    own_redis.stop()
    cachelayer.read(Note, note.pk)
    until(lambda: gate.mode is Mode.OPEN)
    round_trips.clear()
    set_stars(note, 2)
    assert stars(note) == 2
    assert round_trips == []


def test_a_redis_restarted_with_old_data_is_never_believed(own_redis, note):
    transport.client().save()
    own_redis.kill()
    set_stars(note, 2)
    own_redis.start()
    until(lambda: stars(note) == 2 and closed())
    assert not Repair.objects.exists()
    assert [cachelayer.read(Note, note.pk).outcome for _ in range(2)][-1] == "hit"


def test_a_restart_with_old_data_between_two_reads_is_noticed_by_the_second(own_redis, note):
    """Nothing failed in between: the pool reconnects by itself, to another Redis."""
    transport.client().save()
    set_stars(note, 2)
    assert stars(note) == 2
    own_redis.kill()
    own_redis.start()
    assert key_values.is_known(transport.client().get(f"note:{note.pk}")), "the old row is there"
    assert stars(note) == 2
    until(closed)
    assert stars(note) == 2


def test_a_writer_that_has_not_noticed_a_restart_marks_on_the_new_redis(own_redis, note):
    """Its connection is broken; answered by an open gate, it would commit unmarked."""
    stars(note)
    own_redis.kill()
    own_redis.start()
    trust_this_redis()
    set_stars(note, 2)
    assert gate.mode is not Mode.OPEN
    assert not Repair.objects.exists()
    assert stars(note) == 2


def test_a_broken_connection_to_the_same_redis_does_not_open_the_gate(own_redis, note):
    stars(note)
    before = gate.state
    transport.client().client_kill_filter(_type="normal", skipme=False)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert gate.state == before


def test_a_paused_redis_costs_one_timeout_and_is_used_again(own_redis, note, round_trips):
    own_redis.pause()
    try:
        set_stars(note, 2)
        assert gate.mode is Mode.OPEN
        round_trips.clear()
        assert stars(note) == 2
        assert round_trips == []
    finally:
        own_redis.resume()
    until(closed)
    assert stars(note) == 2


def test_a_read_that_got_no_answer_stops_reads_and_no_marks(own_redis, note, value):
    """A process that was frozen misses an answer; unmarked, its next write would go unseen."""
    with stopped(gate, "reconcile") as look:
        own_redis.pause()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        own_redis.resume()
        look.reached()
        assert gate.mode is Mode.SETTLING
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        set_stars(note, 2)
        assert not Repair.objects.exists()
        assert orjson.loads(value(f"note:{note.pk}"))["stars"] == 2
        look.release()
        until(closed)
    assert gate.state.changes == 2, "settling, closed"


def test_a_push_that_got_no_answer_leaves_the_next_write_marked(own_redis, note, value):
    with stopped(gate, "reconcile") as look, stopped(key_states, "push") as push:
        writer = start(set_stars, Note.objects.get(pk=note.pk), 2)
        push.reached()
        own_redis.pause()
        push.release()
        writer.result()
        own_redis.resume()
        assert gate.mode is Mode.SETTLING
        set_stars(note, 3)
        assert not Repair.objects.exists()
        assert orjson.loads(value(f"note:{note.pk}"))["stars"] == 3
        look.release()
    until(closed)


def test_a_reconcile_that_missed_one_answer_does_not_open_the_gate(own_redis, note, monkeypatch):
    look, missed = incarnation.fetch, threading.Event()

    def miss_one(connection):
        if threading.current_thread().name == "cachelayer-reconcile" and not missed.is_set():
            missed.set()
            raise RedisTimeoutError("frozen")
        return look(connection)

    monkeypatch.setattr(incarnation, "fetch", miss_one)
    gate.suspect(RedisTimeoutError("frozen"))
    until(closed)
    assert missed.is_set()
    assert gate.state.changes == 2, "settling, closed"


def test_a_writer_that_decided_while_the_gate_was_open_does_not_open_it_again(own_redis, note):
    """Else a stream of writers could keep a reconcile from ever ending."""
    own_redis.stop()
    cachelayer.read(Note, note.pk)
    until(lambda: gate.mode is Mode.OPEN)
    with stopped(repair_log, "log") as decided, stopped(reconcile, "settle") as settle:
        writer = start(set_stars, Note.objects.get(pk=note.pk), 2)
        decided.reached()
        own_redis.start()
        settle.reached()
        settling = gate.state
        decided.release()
        writer.result()
        assert gate.state is settling
        settle.release()
        until(closed)
    assert stars(note) == 2


def test_a_flush_that_takes_a_mark_is_waited_out(own_redis, note, monkeypatch):
    """The writer is killed after its COMMIT: what a reader fills before it would stay."""
    monkeypatch.setattr(commit.Commit, "push", lambda self: None)
    waited = threading.Event()
    noted = []
    writers = reconcile._writers

    def watched(cursor):
        found = writers(cursor)
        if noted and noted[-1].keys() & found.keys():
            waited.set()
        noted.append(found)
        return found

    monkeypatch.setattr(reconcile, "_writers", watched)
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(set_stars, note, 2)
        mark.reached()
        transport.client().flushall()
        assert stars(note) == 1
        assert gate.mode is not Mode.CLOSED
        assert transport.client().get(f"note:{note.pk}") is None, "no lease, so no fill"
        assert waited.wait(20), "the reconcile waits for the transaction in flight"
        assert gate.mode is not Mode.CLOSED
        assert "writes bookshop_note (process " in gate.state.reason
        mark.release()
        writer.result()
    assert stars(note) == 2
    until(closed)
    assert stars(note) == 2


def test_writers_mark_while_the_gate_settles(own_redis, note, value):
    with stopped(reconcile, "settle") as settle:
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        settle.reached()
        set_stars(note, 2)
        assert not Repair.objects.exists()
        assert orjson.loads(value(f"note:{note.pk}"))["stars"] == 2
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        settle.release()
        until(closed)
    assert value(f"note:{note.pk}") is None, "swept: who knows whose push it was"
    assert [cachelayer.read(Note, note.pk).outcome for _ in range(2)] == ["miss", "hit"]
    assert stars(note) == 2


def test_a_flush_while_another_reconcile_waits_starts_it_again(own_redis, note, monkeypatch):
    with stopped(reconcile, "settle", after=True) as settle:
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        settle.reached()
        transport.client().flushall()
        settle.release()
        until(closed)
    with transport.fresh_connection() as fresh:
        assert incarnation.fetch(fresh).is_trusted


def test_settling_that_was_abandoned_is_taken_over(own_redis, note, monkeypatch):
    monkeypatch.setattr(signs_of_life, "ABANDONED", 1)
    with transport.fresh_connection() as fresh:
        server = incarnation.fetch(fresh).server
    transport.client().set(incarnation.KEY, incarnation.settling(server, epoch.known()))
    transport.forget_connections()
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    until(closed)


def test_a_request_that_has_spent_its_budget_goes_on_without_redis(note, settings, round_trips):
    settings.CACHELAYER = {"REQUEST_BUDGET": 0.01}
    with timing.measure() as spent:
        assert cachelayer.read(Note, note.pk).outcome == "hit"
        spent.redis = 11
        round_trips.clear()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        assert round_trips == []
        set_stars(note, 2)
        assert len(round_trips) == 2, "a write is marked all the same"
    assert gate.mode is Mode.CLOSED


def test_a_mark_that_is_sent_again_has_another_token(own_redis, note, monkeypatch):
    tokens = []
    mark = key_states.mark

    def note_token(keys, token):
        tokens.append(token)
        return mark(keys, token)

    monkeypatch.setattr(key_states, "mark", note_token)
    stars(note)
    transport.client().client_kill_filter(_type="normal", skipme=False)
    set_stars(note, 2)
    assert len(set(tokens)) in (1, 2)
    assert len(tokens) == len(set(tokens))
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_a_redis_that_may_evict_marks_is_not_read(own_redis, note):
    transport.client().config_set("maxmemory", "100mb")
    transport.client().config_set("maxmemory-policy", "allkeys-lru")
    transport.forget_connections()
    cachelayer.read(Note, note.pk)
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert "volatile-lru" in gate.state.reason
    transport.client().config_set("maxmemory-policy", "volatile-lru")
    until(closed)
    assert cachelayer.read(Note, note.pk).outcome in ("hit", "miss")


def test_eviction_takes_rows_and_spares_marks(own_redis, note):
    redis = transport.client()
    redis.config_set("maxmemory-policy", "volatile-lru")
    key_states.mark(["note:marked"], b"w:token")
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 300_000)
    for number in range(400):
        redis.set(f"note:{number}", b"{" + b"x" * 4000, px=300_000)
    assert redis.info("stats")["evicted_keys"] > 0
    assert key_values.is_mark(redis.get("note:marked"))
    redis.config_set("maxmemory", 0)


def test_a_mark_whose_transaction_has_ended_gives_way_to_a_reader(note, value, monkeypatch):
    monkeypatch.setattr(commit.Commit, "push", lambda self: None)
    set_stars(note, 2)
    assert key_values.is_mark(value(f"note:{note.pk}"))
    assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 2


def test_old_marks_of_a_restarted_redis_are_nobodys(own_redis, note, value):
    """The late push of a writer from before the restart would store its old row."""
    with stopped(key_states, "push") as push:
        first = start(set_stars, Note.objects.get(pk=note.pk), 2)
        push.reached()
        transport.client().save()
        own_redis.kill()
        set_stars(note, 3)
        own_redis.start()
        until(lambda: stars(note) == 3 and closed())
        push.release()
        first.result()
    assert stars(note) == 3


def test_a_policy_that_is_changed_while_redis_runs_is_noticed(own_redis, note):
    watchdog.check()
    assert closed()
    transport.client().config_set("maxmemory", "100mb")
    transport.client().config_set("maxmemory-policy", "allkeys-lfu")
    watchdog.check()
    assert gate.mode is Mode.SETTLING
    transport.client().config_set("maxmemory", 0)
    until(closed)
