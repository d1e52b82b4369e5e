"""Warming: what is absent is filled, under leases, and nothing old."""

import orjson
import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import warm
from cachelayer.protocol import key_states
from cachelayer.redis import transport
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
    assert key_states.name(value(third)) == "row"


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
    assert value(key) == key_states.NULL


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
