"""The repair log: what was written without a mark, and how it is made good."""

import time

import pytest
from django.db import connection, transaction

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.protocol import drain, key_states, key_values, reconcile
from cachelayer.redis import transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import start, stopped, wait_for_a_blocked_backend
from cachelayer.tests.outages import closed, set_stars, stars, trust_this_redis
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def note(own_redis):
    return Note.objects.create(stars=1)


def test_what_could_not_be_marked_is_logged_with_the_row(own_redis, note):
    own_redis.stop()
    set_stars(note, 2)
    assert set(Repair.objects.values_list("key", flat=True)) == {f"note:{note.pk}"}
    with transaction.atomic():
        other = Note.objects.create()
        transaction.set_rollback(True)
    assert not Repair.objects.filter(key=f"note:{other.pk}").exists()


def test_an_unmarked_commit_in_the_settling_time_is_waited_out(own_redis, note):
    """It decided to go without a mark while Redis was away, and commits late."""
    transport.client().save()
    with stopped(repair_log, "log", after=True) as logged:
        own_redis.kill()
        writer = start(set_stars, note, 2)
        logged.reached()
        own_redis.start()
        until(lambda: gate.mode is Mode.SETTLING)
        assert stars(note) == 1
        logged.release()
        writer.result()
    assert stars(note) == 2
    until(closed)
    assert stars(note) == 2


def test_a_process_that_was_held_up_looks_before_it_goes_without_a_mark(own_redis, note):
    own_redis.stop()
    with stopped(reconcile, "_attempt") as attempt:
        cachelayer.read(Note, note.pk)
        attempt.reached()
        gate.open(CacheUnavailable("away"))
        own_redis.start()
        trust_this_redis()
        assert gate.mode is Mode.OPEN
        gate.probed_at = time.monotonic() - 60
        set_stars(note, 2)
        assert not Repair.objects.exists(), "it found Redis and marked"
    until(closed)  # Or the reconcile would drain what the next test has logged.


def test_the_repair_log_deletes_rows_and_replaces_marks(note, value):
    other, absent = Note.objects.create(), Note.objects.create()
    keys = [f"note:{each.pk}" for each in (note, other, absent)]
    key_states.mark([keys[1]], b"w:somebody")
    transport.client().delete(keys[2])
    with transaction.atomic():
        repair_log.log(connection, keys)
    assert repair_log.backlog().keys == 3
    assert drain.drain() == 3
    assert value(keys[0]) is None
    assert key_values.is_mark(value(keys[1]))
    assert value(keys[1]) != b"w:somebody"
    assert value(keys[2]) is None
    assert repair_log.backlog() == repair_log.Backlog(0, 0.0)


def test_a_late_push_of_a_writer_that_marked_before_the_repair_is_lost(note, value):
    """It may be older than the write that was logged."""
    key = f"note:{note.pk}"
    with stopped(key_states, "push") as push:
        first = start(set_stars, Note.objects.get(pk=note.pk), 2)
        push.reached()
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("UPDATE bookshop_note SET stars = 3 WHERE id = %s", [note.pk])
            repair_log.log(connection, [key])
        drain.drain()
        push.release()
        first.result()
    assert stars(note) == 3


def test_a_drain_waits_for_the_keys_that_another_has_taken(note):
    with transaction.atomic():
        repair_log.log(connection, [f"note:{note.pk}"])
    with stopped(key_states, "repair") as first_repair:
        first = start(drain.drain)
        first_repair.reached()
        second = start(drain.drain)
        wait_for_a_blocked_backend()
        assert not second.done()
        first_repair.release()
        assert first.result() + second.result() == 1


def test_keys_stay_in_the_log_when_redis_fails_while_it_drains(note, monkeypatch):
    def away(keys, reconciled):
        raise CacheUnavailable("away")

    with transaction.atomic():
        repair_log.log(connection, [f"note:{note.pk}"])
    monkeypatch.setattr(key_states, "repair", away)
    with pytest.raises(CacheUnavailable):
        drain.drain()
    assert Repair.objects.count() == 1


def test_every_key_of_a_prefix_can_be_repaired(note, value):
    keys = [f"note:{Note.objects.create().pk}" for _ in range(5)]
    with transaction.atomic():
        repair_log.log(connection, ["note:*"])
    drain.drain()
    assert [value(key) for key in keys] == [None] * 5


def test_a_mark_without_an_answer_is_not_pushed(own_redis, note, monkeypatch, value):
    """It may be set late, over the mark of the next writer, whose row is newer."""
    late = {}
    send = transport._send

    def lose_the_answer(commands, connections):
        if commands[0][1] == key_states._mark.sha:
            late["commands"] = commands
            raise transport.RedisTimeoutError("no answer")
        return send(commands, connections)

    with stopped(key_states, "push") as push, monkeypatch.context() as loss:
        loss.setattr(transport, "_send", lose_the_answer)
        first = start(set_stars, Note.objects.get(pk=note.pk), 2)
        first.result()
        assert not push._reached.is_set()
    until(closed)
    set_stars(note, 3)
    send(late["commands"], transport.pool())
    assert key_values.is_mark(value(f"note:{note.pk}"))
    assert stars(note) == 3


def test_a_mark_that_got_no_answer_in_time_is_tried_once_more(note, monkeypatch, value):
    """Held up for a moment, a process would write without a mark what others still hit."""
    send, tries = transport._send, []

    def slow_at_first(commands, connections):
        if commands[0][1] == key_states._mark.sha:
            tries.append(commands[0][-2])
            if len(tries) == 1:
                raise transport.RedisTimeoutError("held up")
        return send(commands, connections)

    monkeypatch.setattr(transport, "_send", slow_at_first)
    set_stars(note, 2)
    assert len(set(tries)) == len(tries) == 2, "each with a token of its own"
    assert closed()
    assert not Repair.objects.exists()
    assert cachelayer.read(Note, note.pk).outcome == "hit"
