"""SQL from outside: every statement reaches the repair log; the project's own pay nothing."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pgtrigger
import psycopg
import pytest
from django.db import connection, transaction

import cachelayer
from cachelayer import repair, states
from cachelayer.models import Repair
from cachelayer.tests.bookshop.models import Audiobook, Book, Note
from cachelayer.tests.polling import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _installed(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        pgtrigger.install()


@pytest.fixture
def psql():
    """Another program's connection."""
    options = connection.get_connection_params()
    wanted = {name: options[name] for name in ("dbname", "user", "password", "host", "port")
              if name in options}  # fmt: skip
    with psycopg.connect(**wanted, autocommit=True) as outside:
        yield outside


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
        ("TRUNCATE bookshop_note", ["note:*"]),
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
    repair.drain()
    assert stars(note) == 2
    psql.execute("TRUNCATE bookshop_note")
    repair.drain()
    assert stars(note) is None


def test_a_row_that_was_known_absent_is_found_when_sql_inserts_it(psql):
    new = "550e8400-e29b-41d4-a716-446655440009"
    assert cachelayer.read(Note, new).row is None
    psql.execute(
        f"INSERT INTO bookshop_note (id, text, stars, updated) VALUES ('{new}', '', 7, now())"
    )
    repair.drain()
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
    assert repair.drain() == 2500


def test_raw_sql_in_its_block_is_pushed(note, value):
    with cachelayer.raw_sql(), connection.cursor() as cursor:
        cursor.execute("UPDATE bookshop_note SET stars = 8")
    assert orjson.loads(value(f"note:{note.pk}"))["stars"] == 8
    assert logged() == []


def test_raw_sql_that_rolls_back_reaches_nothing(note, value):
    before = value(f"note:{note.pk}")
    with transaction.atomic():
        with cachelayer.raw_sql(), connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET stars = 8")
        transaction.set_rollback(True)
    assert value(f"note:{note.pk}") == before
    note.stars = 9
    note.save()
    assert logged() == [], "the connection is the project's own again"


def test_raw_sql_that_fails_says_what_failed(note):
    with (
        pytest.raises(Exception, match="does_not_exist"),
        cachelayer.raw_sql(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE does_not_exist SET stars = 8")
    note.save()
    assert logged() == []


def test_raw_sql_leaves_the_keys_of_others_in_the_log(psql, note):
    other = Note.objects.create()
    psql.execute("UPDATE bookshop_note SET stars = 5 WHERE id = %s", [other.pk])
    with cachelayer.raw_sql(), connection.cursor() as cursor:
        cursor.execute("UPDATE bookshop_note SET stars = 8 WHERE id = %s", [note.pk])
    assert logged() == [f"note:{other.pk}"]


def test_raw_truncate_clears_the_prefix_when_it_is_drained(note, value):
    with cachelayer.raw_sql(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE bookshop_note")
    assert logged() == ["note:*"]
    repair.drain()
    assert stars(note) is None


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
            assert states.is_known(value(f"note:{note.pk}"))
            psql.execute("UPDATE bookshop_note SET stars = %s", [count])
            until(lambda count=count: stars(note) == count)
    finally:
        process.terminate()
        process.wait(20)


def test_a_book_that_sql_changes_keeps_its_integer_key(psql):
    book = Book.objects.create(title="a")
    psql.execute("UPDATE bookshop_book SET title = 'b'")
    assert f"book:{book.pk}" in logged()
