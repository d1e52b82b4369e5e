"""Migrations of data and `flush`: historical models, RunPython, RunSQL, tables that are emptied."""

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, migrations, models, transaction
from django.db.migrations.state import ProjectState
from django.test import TransactionTestCase

import cachelayer
from cachelayer.protocol import drain
from cachelayer.tests import emptied
from cachelayer.tests.bookshop.models import Audiobook, Author, Book, Film, Note, Tag
from cachelayer.tests.commands import run
from cachelayer.tests.truth import hit, logged, outside, told
from cachelayer.tracking import triggers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


def migrate(*operations, atomic=True):
    """A migration of the bookshop with *operations*, executed as `migrate` does it."""
    body = {"operations": list(operations), "atomic": atomic}
    migration = type("Migration", (migrations.Migration,), body)("0002_data", "bookshop")
    with connection.schema_editor(atomic=atomic) as editor:
        migration.apply(ProjectState.from_apps(apps), editor)


def run_python(code):
    """*code* takes the historical models, as `apps.get_model`."""

    def forwards(historical, editor):
        code(lambda name: historical.get_model("bookshop", name))

    return migrations.RunPython(forwards, migrations.RunPython.noop)


HISTORICAL = {
    "update": lambda model: model("Note").objects.update(stars=2),
    "save": lambda model: _save(model("Note")),
    "bulk_update": lambda model: _bulk_update(model("Note")),
    "upsert": lambda model: _upsert(model("Note")),
    "raw": lambda model: list(
        model("Note").objects.raw("UPDATE bookshop_note SET stars = 2 RETURNING *")
    ),
}


def _save(model):
    note = model.objects.get()
    assert model is not Note
    note.stars = 2
    note.save()


def _bulk_update(model):
    notes = list(model.objects.all())
    for note in notes:
        note.stars = 2
    model.objects.bulk_update(notes, ["stars"])


def _upsert(model):
    [note] = model.objects.all()
    note.stars = 2
    model.objects.bulk_create(
        [note], update_conflicts=True, unique_fields=["id"], update_fields=["stars"]
    )


@pytest.mark.parametrize("code", HISTORICAL.values(), ids=HISTORICAL)
@pytest.mark.parametrize("atomic", [True, False])
def test_historical_models_write(note, code, atomic):
    """RunPython with apps.get_model: no manager and no signal of the project's is there."""
    migrate(run_python(code), atomic=atomic)
    assert told(Note, note.pk)["stars"] == 2
    assert logged() == set()


@pytest.mark.parametrize(
    "code",
    [
        lambda model: model("Note").objects.get().delete(),
        lambda model: model("Note").objects.all().delete(),
        lambda model: model("Note").objects.all()._raw_delete("default"),
    ],
)
@pytest.mark.parametrize("atomic", [True, False])
def test_historical_models_delete(note, code, atomic):
    migrate(run_python(code), atomic=atomic)
    assert told(Note, note.pk) is None


def test_historical_models_create(note):
    new = Note()
    hit(Note, new.pk)
    migrate(run_python(lambda model: model("Note").objects.create(pk=new.pk, stars=4)))
    assert told(Note, new.pk)["stars"] == 4


def test_historical_models_link_cascade_and_inherit():
    author = Author.objects.create(name="a")
    film, audio = Film.objects.create(title="f"), Audiobook.objects.create(author=author)
    film.cast.add(author)
    film.tags.add(Tag.objects.create(name="t"))
    hit(Film, film.pk)
    hit(Audiobook, audio.pk)
    hit(Book, audio.pk)

    def code(model):
        model("Film").objects.get().tags.clear()
        model("Author").objects.get().delete()
        model("Audiobook").objects.update(minutes=9, title="new")

    migrate(run_python(code))
    assert (told(Film, film.pk)["tags"], told(Film, film.pk)["cast"]) == ([], [])
    assert (told(Audiobook, audio.pk)["minutes"], told(Book, audio.pk)["author"]) == (9, None)
    assert logged() == set()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE bookshop_note SET stars = 2",
        "UPDATE bookshop_note SET stars = 5; UPDATE bookshop_note SET stars = 2;",
        [("UPDATE bookshop_note SET stars = %s", [2])],
        "DO $$ BEGIN UPDATE bookshop_note SET stars = 2; END $$;",
        "-- why\nWITH x AS (SELECT 2 AS n) UPDATE bookshop_note SET stars = n FROM x;",
    ],
)
@pytest.mark.parametrize("atomic", [True, False])
def test_run_sql(note, sql, atomic):
    migrate(migrations.RunSQL(sql), atomic=atomic)
    if not atomic:
        drain.drain()  # Some of it is nobody's to follow.
    assert told(Note, note.pk)["stars"] == 2
    assert logged() == set()


def test_data_and_schema_in_one_migration(note):
    """A column comes, is filled and goes again; the triggers stay what they are."""
    column = models.IntegerField(default=3)
    try:
        migrate(
            migrations.AddField("Note", "shelf_mark", column),
            run_python(
                lambda model: model("Note").objects.update(stars=models.F("shelf_mark") - 1)
            ),
            atomic=True,
        )
        assert told(Note, note.pk)["stars"] == 2
        Note.objects.filter(pk=note.pk).update(stars=4)
        assert told(Note, note.pk)["stars"] == 4
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE bookshop_note DROP COLUMN IF EXISTS shelf_mark")
    assert triggers.problems(connection) == []
    Note.objects.filter(pk=note.pk).update(stars=5)
    assert told(Note, note.pk)["stars"] == 5


def test_a_table_that_is_renamed_and_renamed_back(note):
    """The triggers go with the table; their rows keep their keys."""
    with connection.schema_editor() as editor:
        editor.alter_db_table(Note, "bookshop_note", "bookshop_was_note")
        editor.execute("UPDATE bookshop_was_note SET stars = 2")
        editor.alter_db_table(Note, "bookshop_was_note", "bookshop_note")
    assert told(Note, note.pk)["stars"] == 2


def test_flush(note):
    """manage.py flush: nothing is left, and nothing is served."""
    film, book = Film.objects.create(), Book.objects.create()
    film.tags.add(Tag.objects.create(name="t"))
    hit(Film, film.pk)
    hit(Book, book.pk)
    run("flush", "--no-input")
    assert told(Note, note.pk) is None
    assert told(Film, film.pk) is None
    assert told(Book, book.pk) is None
    assert triggers.problems(connection) == []


def test_rows_that_are_there_again_after_a_flush(note):
    run("flush", "--no-input")
    hit(Note, note.pk)
    Note.objects.create(pk=note.pk, stars=8)
    assert told(Note, note.pk)["stars"] == 8


def test_the_teardown_of_a_transaction_test_case(note):
    class Case(TransactionTestCase):
        def runTest(self):  # noqa: N802
            pass

    emptied.FLUSH(Case())
    assert told(Note, note.pk) is None


def test_a_fixture_of_loaddata(note, tmp_path):
    fixture = tmp_path / "notes.json"
    fixture.write_text(run("dumpdata", "bookshop.note").replace('"stars": 1', '"stars": 6'))
    call_command("loaddata", str(fixture), verbosity=0)
    assert told(Note, note.pk)["stars"] == 6
    assert logged() == set()


def test_a_truncate_that_is_rolled_back(note):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE bookshop_note CASCADE")
        assert cachelayer.read(Note, note.pk).row is None
        transaction.set_rollback(True)
    assert told(Note, note.pk)["stars"] == 1


def test_a_truncate_while_a_row_is_known_absent():
    """`null` may be served on; a row that is created right after it may not be hidden."""
    new = Note(stars=2)
    hit(Note, new.pk)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE bookshop_note CASCADE")
        new.save(force_insert=True)
    assert told(Note, new.pk)["stars"] == 2


def test_dumps_that_are_restored_over_it(note):
    """What psql and pg_restore send: COPY, in a session with an empty search_path."""
    with outside() as psql:
        psql.execute("SELECT pg_catalog.set_config('search_path', '', false)")
        psql.execute("TRUNCATE public.bookshop_note CASCADE")
        with psql.cursor().copy(
            "COPY public.bookshop_note (id,text,stars,updated) FROM STDIN"
        ) as c:
            c.write_row([note.pk, "", 3, "2026-01-01"])
    drain.drain()
    assert told(Note, note.pk)["stars"] == 3
