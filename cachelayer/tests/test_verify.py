"""Verifying: every difference is found, and live traffic makes none up."""

import threading

import pytest
from django.db import connections
from redis.exceptions import TimeoutError as RedisTimeoutError

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import verify
from cachelayer.operations.warm import warm
from cachelayer.protocol import key_states, key_values
from cachelayer.redis import transport
from cachelayer.tests.bookshop.models import Book, Note
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.outages import write_unseen

pytestmark = pytest.mark.django_db(transaction=True)


def report():
    """The report of a whole run."""
    last = verify.Report()
    for last in verify.verify():  # noqa: B007
        pass
    return last


def differing():
    return [found.key for found in report().differences]


@pytest.fixture
def note():
    """A note that is cached."""
    return Note.objects.create(text="before")


def tamper_with_sql(note):
    write_unseen("UPDATE bookshop_note SET text = 'after' WHERE id = %s", [note.pk])


def test_what_the_project_wrote_and_read_does_not_differ(note):
    book = Book.objects.create(title="Emma", extra={"a": 1})
    Note.objects.filter(pk=note.pk).update(stars=3)
    Note.objects.bulk_create([Note() for _ in range(1500)])
    gone = Note.objects.create()
    gone.delete()
    cachelayer.read(Note, gone.pk)
    cachelayer.read(Book, book.pk)
    found = report()
    assert found.differing == 0
    assert found.compared >= 3
    assert cachelayer.read(Book, book.pk).outcome == "hit"


def test_a_row_changed_behind_the_cache_differs(note):
    tamper_with_sql(note)
    found = report()
    assert (found.compared, found.differing) == (1, 1)
    [difference] = found.differences
    assert difference.key == f"note:{note.pk}"
    assert b"before" in difference.cached
    assert b"after" in difference.row


def test_a_value_changed_in_redis_differs(note):
    transport.client().set(f"note:{note.pk}", cachelayer.render(note).replace(b"before", b"BEFORE"))
    assert differing() == [f"note:{note.pk}"]


def test_the_same_columns_in_other_bytes_differ(note):
    transport.client().set(f"note:{note.pk}", cachelayer.render(note).replace(b":", b": ", 1))
    assert differing() == [f"note:{note.pk}"]


def test_a_row_that_is_known_absent_but_exists_differs(note):
    transport.client().set(f"note:{note.pk}", key_values.NULL)
    assert differing() == [f"note:{note.pk}"]


def test_a_row_that_is_cached_but_gone_differs(note):
    write_unseen("DELETE FROM bookshop_note")
    [difference] = report().differences
    assert difference.row == key_values.NULL


def test_a_row_in_a_later_batch_is_looked_at_too(note, monkeypatch):
    Note.objects.bulk_create([Note() for _ in range(999)])
    Note.objects.bulk_create([Note() for _ in range(999)])
    tamper_with_sql(note)
    found = report()
    assert found.compared >= 1999
    assert [difference.key for difference in found.differences] == [f"note:{note.pk}"]


def test_one_row_among_a_batch_is_found_and_no_other():
    Note.objects.bulk_create([Note(text="before") for _ in range(2500)])
    for _ in warm(Note):
        pass
    changed = Note.objects.order_by("pk")[1700]
    tamper_with_sql(changed)
    found = report()
    # A scan may return a key twice.
    assert found.compared >= 2500
    assert {difference.key for difference in found.differences} == {f"note:{changed.pk}"}


def test_a_look_whose_answer_is_lost_is_done_again(note, monkeypatch, quick):
    look, lost = transport._get, []
    tamper_with_sql(note)

    def lose_one(keys):
        if not lost:
            lost.append(keys)
            raise RedisTimeoutError("lost")
        return look(keys)

    monkeypatch.setattr(transport, "_get", lose_one)
    assert differing() == [f"note:{note.pk}"]
    assert lost


def test_a_step_of_the_scan_whose_answer_is_lost_is_done_again(note, monkeypatch, quick):
    send, lost = transport._send, []
    tamper_with_sql(note)

    def lose_one_step(commands, connections):
        if commands[0][0] == "SCAN" and not lost:
            lost.append(commands)
            raise RedisTimeoutError("lost")
        return send(commands, connections)

    monkeypatch.setattr(transport, "_send", lose_one_step)
    assert differing() == [f"note:{note.pk}"]
    assert lost


def test_marks_leases_and_keys_of_others_are_not_compared(note):
    redis = transport.client()
    redis.flushdb()
    redis.set(f"note:{note.pk}", b"w:mark")
    redis.mset({"book:1": b"r:lease", "note:7": b"{}", b"note:\xff": b"{}", "notes:1": b"{}"})
    redis.hset("book:2", "a", "b")
    found = report()
    assert (found.compared, found.differing) == (0, 0)


def test_a_write_between_the_look_at_redis_and_at_postgres_is_no_difference(note):
    with stopped(verify, "read_rows") as load:
        verifying = start(report)
        load.reached()
        note.text = "after"
        note.save()
        load.release()
        assert verifying.result().differing == 0


def test_a_write_whose_push_is_still_to_come_is_no_difference(note):
    with stopped(verify, "read_rows") as load, stopped(key_states, "push") as push:
        verifying = start(report)
        load.reached()
        note.text = "after"
        writer = start(note.save)
        push.reached()
        load.release()
        assert verifying.result().differing == 0
        push.release()
        writer.result()


def test_two_writes_that_put_back_the_bytes_of_before_are_no_difference(monkeypatch):
    note = Note.objects.create()
    load, loads = verify.read_rows, []

    def load_between_two_writes(using, cached, pks):
        args = (using, cached, pks)
        loads.append(cached.model)
        if loads != [Note]:
            return load(*args)
        Note.objects.filter(pk=note.pk).update(stars=9)
        rows = load(*args)
        Note.objects.filter(pk=note.pk).update(stars=0)
        return rows

    monkeypatch.setattr(verify, "read_rows", load_between_two_writes)
    assert differing() == []
    assert loads[:2] == [Note, Note]


def test_live_traffic_makes_no_differences():
    books = [Book.objects.create(title=str(number)) for number in range(2)]
    notes = [Note.objects.create() for _ in range(2)]
    writing = threading.Semaphore(0)

    def write(instance, column):
        model = type(instance)
        for value in range(60):
            if value == 1:
                writing.release()
            model.objects.filter(pk=instance.pk).update(**{column: value % 2})
            cachelayer.read(model, instance.pk)

    writers = [start(write, book, "pages") for book in books]
    writers += [start(write, note, "stars") for note in notes]
    for _ in writers:
        assert writing.acquire(timeout=20)
    found = [report()]
    while not all(writer.done() for writer in writers):
        found.append(report())
    for writer in writers:
        writer.result()
    assert [one.differing for one in found] == [0] * len(found)


def test_a_report_lists_the_first_differences_and_counts_all(monkeypatch):
    monkeypatch.setattr(verify, "LISTED", 2)
    for _ in range(5):
        Note.objects.create()
    write_unseen("UPDATE bookshop_note SET stars = 9")
    found = report()
    assert (found.differing, len(found.differences)) == (5, 2)


def test_without_redis_it_says_so(note, monkeypatch):
    def away(*args):
        raise transport.RedisError("away")

    monkeypatch.setattr(transport, "_send", away)
    with pytest.raises(CacheUnavailable):
        report()
    connections.close_all()
