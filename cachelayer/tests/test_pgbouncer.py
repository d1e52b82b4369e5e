"""Behind PgBouncer in transaction pooling: every write is followed, and nobody needs LISTEN."""

import subprocess
import sys

import orjson
import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction

import cachelayer
from cachelayer.models import Repair
from cachelayer.operations import warm
from cachelayer.protocol import drain
from cachelayer.tests.bookshop.models import Book, Note, Tag
from cachelayer.tests.commands import environment_here
from cachelayer.tests.interleaving import start
from cachelayer.tests.outages import stars
from cachelayer.tests.pgbouncer import parameters_through, pgbouncer
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log, triggers

__all__ = ["pgbouncer"]

pytestmark = pytest.mark.django_db(transaction=True)

SENTENCE = "A pooler such as PgBouncer is in front of Postgres, so LISTEN does not work"


@pytest.fixture
def note(pgbouncer):
    return Note.objects.create(stars=1)


@pytest.fixture
def other_program(pgbouncer):
    """Of no Django, and on the same connections of the pool."""
    with psycopg.connect(**parameters_through(pgbouncer), autocommit=True) as outside:
        yield outside


def pushed(note, value):
    return orjson.loads(value(f"note:{note.pk}"))["stars"]


def test_writes_of_every_kind_are_pushed(note, value):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [server] = cursor.fetchone()
    assert server != connection.connection.info.backend_pid, "there is a pooler in between"
    note.stars = 2
    note.save()
    assert pushed(note, value) == 2
    with transaction.atomic():
        Note.objects.filter(pk=note.pk).update(stars=3)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET stars = stars + 1")
    assert pushed(note, value) == 4
    Note.objects.bulk_create([Note() for _ in range(5)])
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    book, tag = Book.objects.create(title="a"), Tag.objects.create(name="t")
    assert orjson.loads(cachelayer.read(Book, book.pk).row)["tags"] == []
    book.tags.add(tag)
    assert orjson.loads(cachelayer.read(Book, book.pk).row)["tags"] == [tag.pk]
    pk = note.pk
    note.delete()
    assert cachelayer.read(Note, pk) == cachelayer.Read("hit", None)
    assert not Repair.objects.exists()


def test_a_rollback_reaches_nothing(note, value):
    with transaction.atomic():
        Note.objects.filter(pk=note.pk).update(stars=9)
        transaction.set_rollback(True)
    assert pushed(note, value) == 1


def test_on_one_pool_some_listen_and_some_do_not(note, value, other_program):
    """What a connection said of itself would be said of the next client's statements too."""
    for count in range(2, 12, 2):
        Note.objects.filter(pk=note.pk).update(stars=count)
        assert pushed(note, value) == count
        assert not Repair.objects.exists()
        other_program.execute("UPDATE bookshop_note SET stars = %s", [count + 1])
        assert Repair.objects.exists()
        drain.drain()
        assert stars(note) == count + 1


def test_many_threads_read_what_they_wrote(pgbouncer):
    notes = Note.objects.bulk_create([Note() for _ in range(6)])

    def write(note):
        told = []
        for count in range(1, 21):
            Note.objects.filter(pk=note.pk).update(stars=count)
            told.append(stars(note))
        return told

    writers = [start(write, note) for note in notes]
    assert [writer.result(60) for writer in writers] == [[*range(1, 21)]] * len(notes)
    assert not Repair.objects.exists()


def test_rows_are_warmed_and_the_triggers_are_looked_at(note, value):
    assert triggers.problems(connection) == []
    repair_log.log(connection, [f"note:{note.pk}"])
    assert drain.drain() == 1
    assert value(f"note:{note.pk}") is None
    assert [*warm.warm(Note)][-1] == (1, 1)
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_cache_repair_looks_at_the_log_and_says_so(note, psql, tmp_path):
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "cache_repair"],
            env=environment_here(),
            cwd=django_settings.BASE_DIR,
            stderr=stderr,
        )
    try:
        until(lambda: SENTENCE in said.read_text())
        for count in (2, 3):
            stars(note)
            psql.execute("UPDATE bookshop_note SET stars = %s", [count])
            until(lambda count=count: stars(note) == count)
    finally:
        process.terminate()
        process.wait(20)
    assert said.read_text().count(SENTENCE) == 1, "once"
    assert "Traceback" not in said.read_text()
