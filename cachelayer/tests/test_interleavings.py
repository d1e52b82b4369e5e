"""Section 2 of the design, line by line: each interleaving forced, and tried on the control."""

from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

import orjson
import pytest
from django.db import connection, transaction

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import clear
from cachelayer.protocol import commit, documents, key_states, key_values
from cachelayer.redis import transport
from cachelayer.tests import commit_then_set
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.interleaving import start, stopped, wait_for_a_blocked_backend

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    """A note, with one star, that is not cached."""
    note = Note.objects.create(stars=1)
    empty_redis()
    return note


def save(note, stars):
    with transaction.atomic():
        fresh = Note.objects.select_for_update().get(pk=note.pk)
        fresh.stars = stars
        fresh.save()


def stars(note):
    """What a reader is told, or None for "no such row"."""
    row = cachelayer.read(Note, note.pk).row
    return row and orjson.loads(row)["stars"]


def naive_stars(note):
    return orjson.loads(commit_then_set.read(note.pk))["stars"]


def crash(*args):
    """In place of a push: the process is gone, nothing is sent."""


def test_a_reader_that_loaded_before_the_commit_cannot_fill_after_it(note):
    with stopped(key_states, "fill") as fill:
        reader = start(stars, note)
        fill.reached()
        save(note, 2)
        fill.release()
        assert reader.result() == 1, "it began before the write"
    assert stars(note) == 2


def test_control_a_reader_that_loaded_before_the_commit_fills_after_it(note):
    with stopped(commit_then_set, "put") as fill:
        reader = start(commit_then_set.read, note.pk)
        fill.reached()
        commit_then_set.write(note.pk, stars=2)
        fill.release()
        reader.result()
    assert naive_stars(note) == 1, "stale: the control must show what the lease prevents"


def test_a_late_push_leaves_the_row_of_the_later_writer(note):
    with stopped(key_states, "push") as push:
        first = start(save, note, 2)
        push.reached()
        save(note, 3)
        push.release()
        first.result()
    assert stars(note) == 3


def test_control_a_late_set_overwrites_the_row_of_the_later_writer(note):
    with stopped(commit_then_set, "put") as put:
        first = start(commit_then_set.write, note.pk, stars=2)
        put.reached()
        commit_then_set.write(note.pk, stars=3)
        put.release()
        first.result()
    assert naive_stars(note) == 2, "stale: the control must show what the comparison prevents"


def test_a_late_push_leaves_the_mark_of_a_later_writer_that_was_killed(note, monkeypatch):
    with stopped(key_states, "push") as push:
        first = start(save, note, 2)
        push.reached()
        with monkeypatch.context() as killed:
            killed.setattr(commit.Commit, "push", crash)
            save(note, 3)
        push.release()
        first.result()
    assert stars(note) == 3


def test_a_late_push_leaves_the_mark_of_a_writer_in_flight(note, monkeypatch, value):
    """Were it deleted, a reader would fill the row that this writer is about to replace."""
    with stopped(key_states, "push") as push:
        first = start(save, note, 2)
        push.reached()
        monkeypatch.setattr(commit.Commit, "push", crash)
        with stopped(key_states, "mark", after=True) as mark:
            second = start(save, note, 3)
            mark.reached()
            push.release()
            first.result()
            assert key_values.is_mark(value(f"note:{note.pk}"))
            assert stars(note) == 2
            mark.release()
            second.result()
    assert stars(note) == 3


def test_a_writer_killed_between_commit_and_push_leaves_no_stale_row(note, monkeypatch, value):
    assert stars(note) == 1
    monkeypatch.setattr(commit.Commit, "push", crash)
    save(note, 2)
    assert key_values.is_mark(value(f"note:{note.pk}"))
    assert stars(note) == 2
    assert cachelayer.read(Note, note.pk).outcome == "hit", "Postgres knows that it has ended"


def test_control_a_writer_killed_between_commit_and_set_leaves_a_stale_row(note):
    assert naive_stars(note) == 1
    commit_then_set.commit(note.pk, stars=2)
    assert naive_stars(note) == 1, "stale: the control must show what the mark prevents"


def test_a_reader_between_mark_and_commit_fills_nothing_old(note, monkeypatch):
    """With the writer killed before its push, a fill here would stay."""
    monkeypatch.setattr(commit.Commit, "push", crash)
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(save, note, 2)
        mark.reached()
        assert stars(note) == 1, "not committed as yet"
        mark.release()
        writer.result()
    assert stars(note) == 2


def test_a_reader_that_leased_before_the_mark_cannot_fill_after_it(note, monkeypatch):
    monkeypatch.setattr(commit.Commit, "push", crash)
    with stopped(key_states, "fill") as fill:
        reader = start(stars, note)
        fill.reached()
        save(note, 2)
        fill.release()
        assert reader.result() == 1
    assert stars(note) == 2


def test_a_push_whose_mark_was_lost_deletes_what_was_filled_meanwhile(note, value):
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(save, note, 2)
        mark.reached()
        transport.client().delete(f"note:{note.pk}")
        assert stars(note) == 1
        assert key_values.name(value(f"note:{note.pk}")) == "row", "the reader filled the old row"
        mark.release()
        writer.result()
    assert value(f"note:{note.pk}") is None
    assert stars(note) == 2


def test_a_clear_while_a_reader_loads_takes_its_lease(note, value):
    with stopped(key_states, "fill") as fill:
        reader = start(stars, note)
        fill.reached()
        sum(clear.clear_all())
        fill.release()
        reader.result()
    assert value(f"note:{note.pk}") is None


def test_a_clear_leaves_the_mark_of_a_transaction_in_flight(note, value):
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(save, note, 2)
        mark.reached()
        sum(clear.clear_all())
        assert key_values.is_mark(value(f"note:{note.pk}"))
        mark.release()
        writer.result()
    assert stars(note) == 2


def test_a_second_writer_marks_only_after_the_first_has_committed(note):
    """The row lock orders the marks: also for two saves in autocommit."""

    def save_in_autocommit(count):
        fresh = Note.objects.get(pk=note.pk)
        fresh.stars = count
        fresh.save()

    with stopped(key_states, "mark") as mark:
        first = start(save_in_autocommit, 2)
        mark.reached()
        second = start(save_in_autocommit, 3)
        wait_for_a_blocked_backend()
        assert not second.done()
        mark.release()
        first.result()
        second.result()
    assert stars(note) == 3


def test_a_reader_in_the_writing_transaction_sees_its_row_and_caches_nothing(note, value):
    with transaction.atomic():
        note.stars = 9
        note.save()
        assert stars(note) == 9
        assert value(f"note:{note.pk}") is None
        transaction.set_rollback(True)
    assert stars(note) == 1


def test_a_reader_in_a_transaction_that_has_written_fills_nothing(note, value):
    """Past Django as well: Postgres says whether the transaction has written."""
    other = Note.objects.create(stars=5)
    empty_redis()
    with transaction.atomic():
        connection.ensure_connection()
        raw = connection.connection
        raw.execute("UPDATE bookshop_note SET stars = 9 WHERE id = %s", [note.pk])
        assert (stars(note), stars(other)) == (9, 5)
        transaction.set_rollback(True)
    assert value(f"note:{note.pk}") is None
    assert value(f"note:{other.pk}") is None
    assert stars(note) == 1


def test_a_reader_in_a_transaction_that_has_written_nothing_fills(note):
    with transaction.atomic():
        assert stars(note) == 1
    assert cachelayer.read(Note, note.pk).outcome == "hit"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_what_a_transaction_reads_from_an_older_snapshot_is_filled_by_nobody(note, level):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        Note.objects.count()
        start(save, note, 2).result()
        empty_redis()
        assert stars(note) == 1, "its own snapshot"
    assert stars(note) == 2


def test_a_row_deleted_while_a_reader_loads_is_gone(note):
    with stopped(key_states, "fill") as fill:
        reader = start(stars, note)
        fill.reached()
        Note.objects.get(pk=note.pk).delete()
        fill.release()
        assert reader.result() == 1
    assert stars(note) is None


def test_a_row_created_while_a_reader_finds_none_is_there():
    note = Note(stars=4)
    with stopped(key_states, "fill") as fill:
        reader = start(stars, note)
        fill.reached()
        note.save()
        fill.release()
        assert reader.result() is None
    assert stars(note) == 4


def test_many_readers_of_one_cold_key_cost_postgres_one_read(note, settings, monkeypatch):
    settings.CACHELAYER = {"LEASE_WAIT": 60.0, "LEASE_LIFETIME": 60.0, "REQUEST_BUDGET": 60.0}
    loads, asked = [], Semaphore(0)
    load, get = documents.read_rows, key_states.get

    def counting_load(*args, **kwargs):
        loads.append(args)
        return load(*args, **kwargs)

    def counting_get(keys):
        values = get(keys)
        asked.release()
        return values

    monkeypatch.setattr(documents, "read_rows", counting_load)
    monkeypatch.setattr(key_states, "get", counting_get)
    with stopped(key_states, "fill") as fill, ThreadPoolExecutor(199) as pool:
        leader = start(stars, note)
        fill.reached()
        readers = [pool.submit(cachelayer.read, Note, note.pk) for _ in range(199)]
        for _ in range(200):
            assert asked.acquire(timeout=30)
        fill.release()
        answers = [reader.result() for reader in readers]
        assert leader.result() == 1
    assert {orjson.loads(answer.row)["stars"] for answer in answers} == {1}
    assert {answer.outcome for answer in answers} == {"hit"}
    assert len(loads) == 1


def test_without_redis_reads_and_writes_go_on(note, monkeypatch):
    def away(*args):
        raise transport.RedisError("away")

    with monkeypatch.context() as outage:
        outage.setattr(transport, "_send", away)
        save(note, 2)
        assert stars(note) == 2
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        with pytest.raises(CacheUnavailable):
            key_states.get(["note:1"])
