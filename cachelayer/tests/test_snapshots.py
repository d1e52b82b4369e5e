"""Transactions that read and write: what they may fill and push, at each isolation level."""

from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F

import cachelayer
from cachelayer.protocol import key_states
from cachelayer.tests.bookshop.models import Film, Note, Tag
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.truth import hit, logged, told

pytestmark = pytest.mark.django_db(transaction=True)
OLDER = ["REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@contextmanager
def level(name):
    """A transaction at the isolation level *name*, with a snapshot."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {name}")
        cursor.execute("SELECT 1")
        yield cursor


@pytest.mark.parametrize("name", OLDER)
def test_links_added_by_two_of_which_one_has_an_older_snapshot(name):
    """T1 has a snapshot, T2 adds a tag and is acknowledged, T1 adds another and commits."""
    film = Film.objects.create(title="f")
    one, two = Tag.objects.create(name="1"), Tag.objects.create(name="2")
    hit(Film, film.pk)
    with level(name):
        start(lambda: Film.objects.get(pk=film.pk).tags.add(two)).result()
        film.tags.add(one)
    assert set(told(Film, film.pk)["tags"]) == {one.pk, two.pk}
    assert logged() == set()


@pytest.mark.parametrize("name", OLDER)
def test_a_row_written_from_an_older_snapshot(note, name):
    """Another's row is newer than the snapshot; this one writes a row of its own."""
    other = Note.objects.create(stars=1)
    with level(name):
        start(Note.objects.filter(pk=other.pk).update, stars=2).result()
        Note.objects.filter(pk=note.pk).update(stars=3)
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert (told(Note, note.pk)["stars"], told(Note, other.pk)["stars"]) == (3, 2)
    with pytest.raises(OperationalError):
        write_what_another_has_written(note, name)
    assert told(Note, note.pk)["stars"] == 4


def write_what_another_has_written(note, name):
    with level(name):
        start(Note.objects.filter(pk=note.pk).update, stars=4).result()
        Note.objects.filter(pk=note.pk).update(stars=5)


@pytest.mark.parametrize("name", OLDER)
def test_an_older_snapshot_fills_nothing(note, name):
    """It misses, and loads what others have changed since."""
    with level(name):
        start(Note.objects.filter(pk=note.pk).update, stars=2).result()
        empty_redis()
        read = cachelayer.read(Note, note.pk)
        assert read.outcome == "bypass"
        assert [each.outcome for each in cachelayer.read_many(Note, [note.pk]).values()] == [
            "bypass"
        ]
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.parametrize("name", OLDER)
@pytest.mark.usefixtures("past_pgbouncer")
def test_a_connection_whose_every_transaction_is_of_that_level(note, name):
    """The setting is the session's, not the transaction's: also what is in autocommit."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET default_transaction_isolation = '{name.lower()}'")
    try:
        Note.objects.filter(pk=note.pk).update(stars=F("stars") + 1)
        assert told(Note, note.pk)["stars"] == 2
        note.stars = 7
        note.save()
        assert told(Note, note.pk)["stars"] == 7
        with transaction.atomic():
            Note.objects.all().delete()
        assert told(Note, note.pk) is None
    finally:
        connection.close()


def test_a_transaction_that_only_reads_fills(note):
    """ATOMIC_REQUESTS: a view's reads are inside a transaction, and expired rows come back."""
    empty_redis()
    with transaction.atomic():
        Tag.objects.count()
        assert cachelayer.read(Note, note.pk).outcome == "miss"
        assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert told(Note, note.pk)["stars"] == 1


def test_a_transaction_that_has_written_fills_nothing(note):
    """Not even a row that it has not written: a trigger's function may have, unseen as yet."""
    empty_redis()
    with transaction.atomic():
        Tag.objects.create(name="t")
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        Note.objects.filter(pk=note.pk).update(stars=2)
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        assert told(Note, note.pk)["stars"] == 2
        transaction.set_rollback(True)
    assert told(Note, note.pk)["stars"] == 1


def test_a_transaction_that_reads_while_another_commits(note):
    """Its lease is taken, another writes the row, its fill comes after: it is turned down."""
    empty_redis()
    with stopped(key_states, "fill") as fill:

        def read():
            with transaction.atomic():
                return cachelayer.read(Note, note.pk).outcome

        reader = start(read)
        fill.reached()
        Note.objects.filter(pk=note.pk).update(stars=2)
        fill.release()
        assert reader.result() == "miss"
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.parametrize("mode", ["READ ONLY", "READ ONLY DEFERRABLE"])
def test_a_read_only_transaction(note, mode):
    empty_redis()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET TRANSACTION {mode}")
        assert cachelayer.read(Note, note.pk).row is not None
    assert told(Note, note.pk)["stars"] == 1
