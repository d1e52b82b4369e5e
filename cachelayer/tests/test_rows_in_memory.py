"""Instances that are not what the database has: receivers, savepoints by hand, slow receivers."""

import time
from contextlib import contextmanager

import pytest
from django.db import connection, models, transaction
from django.db.models import F, signals
from django.db.models.functions import Upper

import cachelayer
from cachelayer.tests.bookshop.models import Book, Note, Stamp
from cachelayer.tests.truth import hit, logged, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@pytest.fixture(autouse=True)
def _heard():
    yield
    assert logged() == set()


@contextmanager
def receiving(signal, receiver, sender=Note):
    signal.connect(receiver, sender=sender, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


def update_past_it(sender, instance, **kwargs):
    sender.objects.filter(pk=instance.pk).update(text="slug")


def set_on_it(sender, instance, **kwargs):
    instance.text = "never saved"


def save_again(sender, instance, **kwargs):
    if instance.text != "again":
        instance.text = "again"
        instance.save(update_fields=["text"])


@pytest.mark.parametrize("within", ["autocommit", "atomic"])
@pytest.mark.parametrize(
    ("receiver", "text"),
    [(update_past_it, "slug"), (set_on_it, ""), (save_again, "again")],
)
@pytest.mark.parametrize("connected", ["after ours", "before ours"])
def test_a_receiver_of_post_save(note, within, receiver, text, connected):
    """qs.filter(pk=instance.pk).update(slug=…), or an attribute that is set on the instance."""
    others = signals.post_save.receivers
    with receiving(signals.post_save, receiver):
        if connected == "before ours":
            signals.post_save.receivers = list(reversed(signals.post_save.receivers))
            signals.post_save.sender_receivers_cache.clear()
        try:
            note.stars = 2
            if within == "atomic":
                with transaction.atomic():
                    note.save()
            else:
                note.save()
        finally:
            if connected == "before ours":
                signals.post_save.receivers = [
                    *others, *(r for r in signals.post_save.receivers if r not in others)
                ]  # fmt: skip
                signals.post_save.sender_receivers_cache.clear()
    found = told(Note, note.pk)
    assert (found["stars"], found["text"]) == (2, text)


def test_a_receiver_of_pre_save_post_init_and_post_delete(note):
    """What post_init adds belongs to every instance; what post_delete creates is a new row."""

    def create_again(sender, instance, **kwargs):
        Note.objects.create(pk=note.pk, stars=7)

    pk = note.pk
    with receiving(signals.pre_save, set_on_it):
        note.save()
    assert told(Note, pk)["text"] == "never saved"  # Before the save: it is saved.
    with receiving(signals.post_delete, create_again), transaction.atomic():
        note.delete()
    assert told(Note, pk)["stars"] == 7


def test_a_receiver_that_raises_does_not_take_the_save_back(note):
    """In autocommit the row is committed when post_save is sent: as without the cache."""

    def refuse(**kwargs):
        raise RuntimeError("no")

    note.stars = 2
    with receiving(signals.post_save, refuse), pytest.raises(RuntimeError):
        note.save()
    assert told(Note, note.pk)["stars"] == 2
    note.stars = 3
    with receiving(signals.post_save, refuse), pytest.raises(RuntimeError), transaction.atomic():
        note.save()
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.usefixtures("past_pgbouncer")
def test_a_receiver_slower_than_the_idle_limit_of_a_transaction(note):
    """The save in autocommit holds no transaction open while its receivers run."""
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '500ms'")
    try:
        note.stars = 2
        with receiving(signals.post_save, lambda **kwargs: time.sleep(1)):
            note.save()
            created = Note.objects.create(stars=3)
        assert told(Note, note.pk)["stars"] == 2
        assert told(Note, created.pk)["stars"] == 3
    finally:
        connection.close()


def test_a_multi_table_save_in_autocommit_is_one_transaction_as_without_the_cache():
    seen = []

    def look(sender, instance, **kwargs):
        seen.append(connection.in_atomic_block)

    with receiving(signals.post_save, look, Book), receiving(signals.post_save, look, Note):
        Note.objects.create()
        Book.objects.create()
    assert seen == [False, False]


@pytest.mark.parametrize("is_written_again", [False, True])
def test_a_savepoint_that_is_rolled_back_by_hand(note, is_written_again):
    """sid = transaction.savepoint(); note.save(); transaction.savepoint_rollback(sid)."""
    with transaction.atomic():
        sid = transaction.savepoint()
        note.stars = 2
        note.save()
        transaction.savepoint_rollback(sid)
        if is_written_again:
            Note.objects.filter(pk=note.pk).update(stars=F("stars") + 5)
    assert told(Note, note.pk)["stars"] == (6 if is_written_again else 1)


def test_savepoints_by_hand_one_in_another(note):
    other, never = Note.objects.create(stars=1), Note(stars=9)
    hit(Note, other.pk, never.pk)
    with transaction.atomic():
        Note.objects.filter(pk=note.pk).update(stars=2)
        outer = transaction.savepoint()
        Note.objects.filter(pk=other.pk).update(stars=3)
        inner = transaction.savepoint()
        never.save()
        transaction.savepoint_commit(inner)
        transaction.savepoint_rollback(outer)
        kept = transaction.savepoint()
        Note.objects.filter(pk=note.pk).update(stars=F("stars") + 2)
        transaction.savepoint_commit(kept)
    assert told(Note, note.pk)["stars"] == 4
    assert told(Note, other.pk)["stars"] == 1
    assert told(Note, never.pk) is None


def test_a_savepoint_in_sql_that_is_rolled_back_twice(note):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute('SAVEPOINT "Mine"')
        for _ in range(2):
            Note.objects.update(stars=F("stars") + 1)
            cursor.execute('ROLLBACK TO SAVEPOINT "Mine"')
    assert told(Note, note.pk)["stars"] == 1
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("savepoint mine; update bookshop_note set stars = 5")
        cursor.execute("rollback  to mine")
        cursor.execute("rollback work to savepoint MINE")
    assert told(Note, note.pk)["stars"] == 1


def test_an_error_that_a_function_catches_takes_its_writes_back(note):
    """The notice of a write was sent, and its savepoint inside PL/pgSQL was rolled back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DO $$ BEGIN UPDATE bookshop_note SET stars = 5; PERFORM 1/0; "
            "EXCEPTION WHEN division_by_zero THEN NULL; END $$"
        )
    assert told(Note, note.pk)["stars"] == 1


def test_rows_that_are_not_what_was_sent(note):
    """F(), functions, a default of the database, rounding, a trigger, deferred columns."""
    Note.objects.filter(pk=note.pk).update(text=Upper(models.Value("abc")), price="1.005")
    found = told(Note, note.pk)
    assert found["text"] == "ABC"
    part = Note.objects.only("text").get(pk=note.pk)
    part.text = "part"
    part.save()
    assert told(Note, note.pk)["text"] == "part"
    note.stars = F("stars") + 10
    note.save()
    assert told(Note, note.pk)["stars"] == 11
    book = Book(title="b")
    book.save()
    assert told(Book, book.pk)["stock"] == 7
    stamp = Stamp.objects.create(text="x")
    assert told(Stamp, stamp.pk)["text"] == "x"


def test_autocommit_that_is_switched_off_by_hand(note):
    transaction.set_autocommit(False)
    try:
        note.stars = 2
        note.save()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        transaction.rollback()
        assert told(Note, note.pk)["stars"] == 1
        note.save()
        transaction.commit()
        assert told(Note, note.pk)["stars"] == 2
        Note.objects.update(stars=3)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert told(Note, note.pk)["stars"] == 3
