"""Warming: what is absent is filled, under leases, and nothing old."""

import threading
from collections import Counter

import orjson
import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rest_framework import serializers

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import warm
from cachelayer.protocol import key_states, key_values
from cachelayer.redis import many_keys, scripts, transport
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Audiobook, Book, Note
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.interleaving import start, stopped

pytestmark = pytest.mark.django_db(transaction=True)


def warm_up(model=Note):
    """(rows seen, rows filled) of a whole run."""
    last = (0, 0)
    for last in warm.warm(model):  # noqa: B007
        pass
    return last


@pytest.fixture
def notes():
    """Three notes, none of them cached."""
    notes = [Note.objects.create(stars=stars) for stars in range(3)]
    empty_redis()
    return notes


def test_every_row_that_is_absent_is_filled(notes):
    assert warm_up() == (3, 3)
    for note in notes:
        read = cachelayer.read(Note, note.pk)
        assert read.outcome == "hit"
        assert read.row == cachelayer.render(note)


def test_a_row_that_cannot_be_rendered_is_left_out_and_named(notes, monkeypatch, caplog, value):
    def picky(note):
        return {"stars": 6 // (note.stars - 1)}

    monkeypatch.setitem(registry._registered, Note, registry.make(Note, picky, "note"))
    assert warm_up() == (3, 2)
    [record] = caplog.records
    key = f"note:{notes[1].pk}"
    assert key in record.getMessage()
    assert value(key) is None, "no lease, which the next reader would wait for"


class PickyStars(serializers.IntegerField):
    def to_representation(self, value):
        return 6 // (value - 1)


class PickySerializer(serializers.ModelSerializer):
    """Plain, so that its rows are rendered by a plan; one star is too much for it."""

    stars = PickyStars()

    class Meta:
        model = Note
        fields = ["id", "stars"]


def test_a_row_that_a_field_cannot_show_is_left_out_of_its_batch(notes, monkeypatch, caplog, value):
    cached = registry.make(Note, PickySerializer, "note")
    assert not cached.is_query_checked, "it is warmed in two threads"
    monkeypatch.setitem(registry._registered, Note, cached)
    assert warm_up() == (3, 2)
    key = f"note:{notes[1].pk}"
    [record] = caplog.records
    assert key in record.getMessage()
    assert value(key) is None, "no lease, which the next reader would wait for"
    assert orjson.loads(value(f"note:{notes[2].pk}"))["stars"] == 6


def test_each_row_is_filled_under_its_own_key_by_several_scripts(monkeypatch, value):
    monkeypatch.setattr(many_keys, "SCRIPT", 2)
    keys = {f"note:{note.pk}": note for note in (Note.objects.create(stars=n) for n in range(7))}
    empty_redis()
    marked = list(keys)[1::3]
    transport.client().mset(dict.fromkeys(marked, b"w:mark"))
    assert warm_up() == (7, 5)
    for key, note in keys.items():
        assert value(key) == (b"w:mark" if key in marked else cachelayer.render(note))


def test_a_row_that_is_marked_between_lease_and_fill_does_not_keep_out_its_neighbours(notes, value):
    marked, *others = (f"note:{note.pk}" for note in notes)
    with stopped(key_states, "fill") as fill:
        warming = start(warm_up)
        fill.reached()
        transport.client().set(marked, b"w:mark")
        fill.release()
        assert warming.result() == (3, 2)
    assert value(marked) == b"w:mark"
    assert [key_values.name(value(key)) for key in others] == ["row", "row"]


def test_a_key_of_another_type_does_not_keep_out_its_neighbours(notes):
    before, between = (f"note:{note.pk}" for note in notes[:2])
    redis = transport.client()
    redis.hset(before, "a", "b")
    with stopped(key_states, "fill") as fill:
        warming = start(warm_up)
        fill.reached()
        redis.delete(between)
        redis.hset(between, "a", "b")
        fill.release()
        assert warming.result() == (3, 1)
    assert (redis.type(before), redis.type(between)) == (b"hash", b"hash")


def test_a_fill_whose_answer_is_lost_is_done_again(notes, monkeypatch, quick):
    send, lost = transport._send, []

    def lose_one_fill(commands, connections):
        if scripts.name(commands[0]) == "fill" and not lost:
            lost.append(commands)
            raise RedisTimeoutError("lost")
        return send(commands, connections)

    monkeypatch.setattr(transport, "_send", lose_one_fill)
    assert warm_up() == (3, 3)
    assert lost


def test_a_run_that_is_given_up_leaves_no_lease(value):
    Note.objects.bulk_create([Note() for _ in range(4500)])
    empty_redis()
    running = warm.warm(Note)
    next(running)
    running.close()
    found = Counter(key_values.name(value(f"note:{note.pk}")) for note in Note.objects.all())
    assert found.keys() == {"row", "absent"}
    assert 1000 <= found["row"] <= 3000, "it was stopped"


def test_the_second_thread_has_no_connection_to_postgres(notes, monkeypatch):
    """It would have no tenant, and nobody would close it."""
    seen = []

    def noting(work):
        def call(*args):
            result = work(*args)
            seen.append((threading.current_thread(), connections["default"].connection))
            return result

        return call

    for name in ("lease", "fill"):
        monkeypatch.setattr(key_states, name, noting(getattr(key_states, name)))
    assert warm_up() == (3, 3)
    [(thread, asked), (same, then)] = seen
    assert thread is same is not threading.current_thread()
    assert asked is then is None


def test_an_empty_table_is_warm():
    assert warm_up() == (0, 0)


def test_rows_of_a_child_table_are_filled_under_their_own_keys():
    book = Audiobook.objects.create(title="Emma", minutes=3)
    empty_redis()
    assert warm_up(Audiobook) == (1, 1)
    assert warm_up(Book) == (1, 1)
    assert cachelayer.read(Audiobook, book.pk).outcome == "hit"


def test_what_is_cached_stays_as_it_is(notes, value):
    first, second, third = (f"note:{note.pk}" for note in notes)
    transport.client().mset({first: b'{"here":"already"}', second: b"w:mark"})
    assert warm_up() == (3, 1)
    assert value(first) == b'{"here":"already"}'
    assert value(second) == b"w:mark"
    assert key_values.name(value(third)) == "row"


def test_a_row_that_changes_between_the_load_and_the_fill_is_not_filled_old(notes):
    with stopped(warm, "read_neighbours", after=True) as load:
        warming = start(warm_up)
        load.reached()
        notes[0].stars = 9
        notes[0].save()
        load.release()
        assert warming.result() == (3, 2)
    assert orjson.loads(cachelayer.read(Note, notes[0].pk).row)["stars"] == 9


def test_a_row_whose_writer_is_killed_after_commit_is_not_filled_old(notes, monkeypatch):
    with stopped(warm, "read_neighbours", after=True) as load:
        warming = start(warm_up)
        load.reached()
        with monkeypatch.context() as killed:
            killed.setattr(key_states, "push", lambda rows, token: [])
            notes[0].stars = 9
            notes[0].save()
        load.release()
        assert warming.result() == (3, 2)
    assert orjson.loads(cachelayer.read(Note, notes[0].pk).row)["stars"] == 9


def test_a_row_that_changes_after_the_cursor_saw_it_is_filled_new(notes, value):
    with stopped(key_states, "lease") as lease:
        warming = start(warm_up)
        lease.reached()
        notes[0].stars = 9
        notes[0].save()
        empty_redis()
        lease.release()
        assert warming.result() == (3, 3)
    assert orjson.loads(value(f"note:{notes[0].pk}"))["stars"] == 9


def test_a_row_that_is_deleted_after_the_cursor_saw_it_is_known_absent(notes, value):
    key = f"note:{notes[0].pk}"
    with stopped(key_states, "lease") as lease:
        warming = start(warm_up)
        lease.reached()
        notes[0].delete()
        empty_redis()
        lease.release()
        warming.result()
    assert value(key) == key_values.NULL


@pytest.mark.usefixtures("past_pgbouncer")
def test_primary_keys_stream_through_a_server_side_cursor(monkeypatch):
    Note.objects.bulk_create([Note() for _ in range(8500)])
    empty_redis()
    running = warm.warm(Note)
    assert next(running) == (1000, 1000)
    with connection.cursor() as cursor:
        cursor.execute("SELECT is_holdable FROM pg_cursors WHERE name LIKE '_django_curs_%'")
        assert cursor.fetchall() == [(True,)], "outside a transaction, which would grow old"
    assert [*running][-2:] == [(8000, 8000), (8500, 8500)]


def test_a_batch_costs_two_round_trips(notes, round_trips):
    warm_up()
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]
    round_trips.clear()
    warm_up()
    assert round_trips == [["EVALSHA"]], "what is cached is not loaded"


def test_warming_in_a_transaction_is_refused(notes, value):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET stars = 9")
        with pytest.raises(TransactionManagementError):
            warm_up()
        transaction.set_rollback(True)
    assert value(f"note:{notes[0].pk}") is None


def test_without_redis_it_says_so(notes, monkeypatch):
    def away(*args):
        raise transport.RedisError("away")

    monkeypatch.setattr(transport, "_send", away)
    with pytest.raises(CacheUnavailable):
        warm_up()
