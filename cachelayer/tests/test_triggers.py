"""SQL by hand: through Django's cursor it is pushed, from outside it reaches the repair log."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import orjson
import pytest
from django.db import ProgrammingError, connection, transaction

import cachelayer
from cachelayer.models import Repair
from cachelayer.protocol import drain, key_values
from cachelayer.tests.bookshop.models import Audiobook, Book, Note
from cachelayer.tests.polling import until
from cachelayer.tests.postgres_version import needs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def logged():
    return sorted(Repair.objects.values_list("key", flat=True))


def stars(note):
    row = cachelayer.read(Note, note.pk).row
    return row and orjson.loads(row)["stars"]


def test_each_kind_of_statement_is_logged(psql, note):
    key = f"note:{note.pk}"
    new = "550e8400-e29b-41d4-a716-446655440009"
    for statement, keys in [
        ("UPDATE bookshop_note SET stars = 2", [key]),
        (
            f"INSERT INTO bookshop_note (id, text, stars, updated) VALUES ('{new}', '', 0, now())",
            [f"note:{new}"],
        ),
        (f"DELETE FROM bookshop_note WHERE id = '{note.pk}'", [key]),
        ("TRUNCATE bookshop_note CASCADE", ["note:*", "reply:*"]),
        ("UPDATE bookshop_note SET stars = 3", []),
    ]:
        psql.execute(statement)
        assert logged() == keys
        Repair.objects.all().delete()


def test_a_changed_primary_key_is_logged_under_both(psql, note):
    new = "550e8400-e29b-41d4-a716-446655440009"
    psql.execute(f"UPDATE bookshop_note SET id = '{new}'")
    assert logged() == sorted([f"note:{note.pk}", f"note:{new}"])


def test_copy_is_logged(psql):
    with psql.cursor().copy("COPY bookshop_note (id, text, stars, updated) FROM STDIN") as copy:
        for n in range(3):
            copy.write_row([f"550e8400-e29b-41d4-a716-44665544000{n}", "", n, "2026-01-01"])
    assert len(logged()) == 3


def test_what_is_logged_is_repaired(psql, note):
    assert stars(note) == 1
    psql.execute("UPDATE bookshop_note SET stars = 2")
    drain.drain()
    assert stars(note) == 2
    psql.execute("TRUNCATE bookshop_note CASCADE")
    drain.drain()
    assert stars(note) is None


def test_a_row_that_was_known_absent_is_found_when_sql_inserts_it(psql):
    new = "550e8400-e29b-41d4-a716-446655440009"
    assert cachelayer.read(Note, new).row is None
    psql.execute(
        f"INSERT INTO bookshop_note (id, text, stars, updated) VALUES ('{new}', '', 7, now())"
    )
    drain.drain()
    assert orjson.loads(cachelayer.read(Note, new).row)["stars"] == 7


def test_a_rollback_logs_nothing(psql, note):
    with psql.transaction(force_rollback=True):
        psql.execute("UPDATE bookshop_note SET stars = 2")
    assert logged() == []


def test_the_tables_of_a_multi_table_row_are_all_followed(psql):
    audio = Audiobook.objects.create(title="a")
    psql.execute("UPDATE bookshop_book SET title = 'b'")
    assert logged() == sorted([f"book:{audio.pk}", f"audiobook:{audio.pk}"])


def test_the_projects_own_writes_are_not_logged(note):
    note.stars = 2
    note.save()
    Note.objects.update(stars=3)
    note.delete()
    assert logged() == []


def test_a_large_update_is_one_statement_in_the_log(psql):
    Note.objects.bulk_create([Note() for _ in range(2500)])
    psql.execute("UPDATE bookshop_note SET stars = 1")
    assert Repair.objects.values("logged_at").distinct().count() == 1
    assert drain.drain() == 2500


@pytest.fixture(params=["atomic", "autocommit"])
def execute(request):
    """Send one statement through Django's cursor, in a transaction or in autocommit."""

    def execute(sql, parameters=()):
        block = transaction.atomic if request.param == "atomic" else nullcontext
        with block(), connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    return execute


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE bookshop_note SET stars = 8",
        'update only "bookshop_note" set stars = 8;',
        "UPDATE bookshop_note SET stars = 8 /* traced */",
        "UPDATE bookshop_note SET stars = 8 -- by hand",
        "WITH found AS (SELECT id FROM bookshop_note) "
        "UPDATE bookshop_note SET stars = 8 WHERE id IN (SELECT id FROM found)",
        "MERGE INTO bookshop_note USING (SELECT 1) one ON true WHEN MATCHED THEN "
        "UPDATE SET stars = 8",
    ],
)
def test_raw_sql_is_pushed(execute, note, value, sql):
    if sql.startswith("MERGE"):
        needs(15, "MERGE")
    assert stars(note) == 1
    execute(sql)
    assert orjson.loads(value(f"note:{note.pk}"))["stars"] == 8
    assert logged() == []


@pytest.mark.parametrize(
    "sql",
    [
        "/* traced */ UPDATE bookshop_note SET stars = 8",
        "SET LOCAL work_mem = '1MB'; UPDATE bookshop_note SET stars = 8",
        "DO $$ BEGIN UPDATE bookshop_note SET stars = 8; END $$",
    ],
)
def test_sql_that_does_not_begin_with_its_write_is_pushed_or_logged(execute, note, value, sql):
    """In autocommit nobody knows of it in time to put it into a transaction."""
    execute(sql)
    pushed = orjson.loads(value(f"note:{note.pk}"))["stars"] == 8
    assert logged() == ([] if pushed else [f"note:{note.pk}"])
    drain.drain()
    assert stars(note) == 8


def test_a_text_that_looks_like_the_comment_is_none(psql, note):
    psql.execute("UPDATE bookshop_note SET text = '/*cachelayer*/'")
    assert logged() == [f"note:{note.pk}"]


def test_raw_sql_that_rolls_back_reaches_nothing(note, value):
    before = value(f"note:{note.pk}")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET stars = 8")
        transaction.set_rollback(True)
    assert value(f"note:{note.pk}") == before
    assert logged() == []


@pytest.mark.parametrize("table", ["does_not_exist", "bookshop_note"])
def test_raw_sql_that_fails_says_what_failed(execute, note, table):
    with pytest.raises(ProgrammingError, match="does_not_exist"):
        execute(f"UPDATE {table} SET does_not_exist = 8")
    note.stars = 3
    note.save()
    assert stars(note) == 3
    assert logged() == []


def test_raw_sql_leaves_the_keys_of_others_in_the_log(execute, psql, note):
    other = Note.objects.create()
    psql.execute("UPDATE bookshop_note SET stars = 5 WHERE id = %s", [other.pk])
    execute("UPDATE bookshop_note SET stars = 8 WHERE id = %s", [note.pk])
    assert logged() == [f"note:{other.pk}"]


def test_a_truncate_clears_before_its_caller_hears_of_it(execute, note, value):
    other = Book.objects.create(title="a")
    cachelayer.read(Book, other.pk)
    execute("TRUNCATE bookshop_note CASCADE")
    assert value(f"note:{note.pk}") is None
    assert logged() == ["note:*", "reply:*"], "in case that this process dies before"
    assert stars(note) is None
    assert key_values.name(value(f"book:{other.pk}")) == "row"
    drain.drain()
    assert stars(note) is None


def test_a_truncate_from_outside_clears_when_it_is_drained(psql, note, value):
    psql.execute("TRUNCATE bookshop_note CASCADE")
    assert logged() == ["note:*", "reply:*"]
    drain.drain()
    assert stars(note) is None


def test_a_truncate_that_rolls_back_clears_nothing(note, value):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE bookshop_note CASCADE")
        assert cachelayer.read(Note, note.pk).row is None, "its own transaction sees it"
        transaction.set_rollback(True)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert logged() == []


def test_the_repair_process_follows_as_rows_are_written(psql, note, value):
    script = (
        "import django; django.setup(); from django.conf import settings; "
        f"settings.DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r}; "
        "from django.core.management import call_command; call_command('cache_repair')"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, env=dict(os.environ))
    try:
        for count in range(2, 5):
            stars(note)
            assert key_values.is_known(value(f"note:{note.pk}"))
            psql.execute("UPDATE bookshop_note SET stars = %s", [count])
            until(lambda count=count: stars(note) == count)
    finally:
        process.terminate()
        process.wait(20)


def test_a_book_that_sql_changes_keeps_its_integer_key(psql):
    book = Book.objects.create(title="a")
    psql.execute("UPDATE bookshop_book SET title = 'b'")
    assert f"book:{book.pk}" in logged()
