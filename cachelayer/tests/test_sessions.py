"""What a session says of itself: its role, search_path, time zone and settings."""

import datetime

import psycopg
import pytest
from django.db import connection, transaction

import cachelayer
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.truth import hit, outside, repaired, told

pytestmark = pytest.mark.django_db(transaction=True)

UPDATE = "UPDATE bookshop_note SET stars = stars + 1"


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@pytest.fixture
def stranger():
    """A role that may write the project's tables and knows nothing of the cache's."""
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS bookshop_stranger")
        cursor.execute("CREATE ROLE bookshop_stranger LOGIN PASSWORD 'x'")
        cursor.execute("GRANT USAGE ON SCHEMA public TO bookshop_stranger")
        tables = ", ".join(f"bookshop_{name}" for name in ("note", "book", "shelf", "reply"))
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO bookshop_stranger")
    yield "bookshop_stranger"
    with connection.cursor() as cursor:
        cursor.execute("DROP OWNED BY bookshop_stranger")
        cursor.execute("DROP ROLE bookshop_stranger")


def test_another_role_without_rights_on_the_log_writes_and_is_logged(note, stranger):
    with outside(user=stranger, password="x") as psql:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            psql.execute("SELECT * FROM cachelayer_repair")
        psql.execute(UPDATE)
        repaired(f"note:{note.pk}")
        assert told(Note, note.pk)["stars"] == 2
        psql.execute("DELETE FROM bookshop_note")
        repaired(f"note:{note.pk}")
    assert told(Note, note.pk) is None


def test_a_role_that_was_set_in_a_transaction_is_followed(note, stranger):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {stranger}")
        cursor.execute(UPDATE)
        cursor.execute("RESET ROLE")
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.parametrize("path", ["''", "pg_temp", "elsewhere, pg_catalog"])
def test_an_empty_or_strange_search_path(note, path):
    with outside() as psql:
        psql.execute(f"SET search_path = {path}")
        psql.execute(UPDATE.replace("bookshop", "public.bookshop"))
        psql.execute("DELETE FROM public.bookshop_note WHERE stars > 2")
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 2
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL search_path = {path}")
        cursor.execute(UPDATE.replace("bookshop", "public.bookshop"))
        cursor.execute("SET LOCAL search_path = public")
    assert told(Note, note.pk)["stars"] == 3


def test_names_that_a_session_puts_in_front_are_not_taken(note):
    """A temporary table named as the log, and operators of its own, change nothing."""
    with outside() as psql:
        psql.execute("CREATE TEMP TABLE cachelayer_repair (key text)")
        psql.execute(UPDATE)
        assert psql.execute("SELECT count(*) FROM pg_temp.cachelayer_repair").fetchone() == (0,)
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.parametrize(
    "setting",
    [
        "session_replication_role = replica",
        "client_min_messages = error",
        "bytea_output = escape",
        "datestyle = 'SQL, DMY'",
        "row_security = off",
        "standard_conforming_strings = off",
        "extra_float_digits = 0",
        "intervalstyle = sql_standard",
        "timezone = 'Asia/Kathmandu'",
    ],
)
def test_settings_of_a_session_change_nothing(note, setting):
    note.weight, note.printed = 0.1 + 0.2, "2026-01-02T03:04:05.678901Z"
    note.save()
    hit(Note, note.pk)
    with outside() as psql:
        psql.execute(f"SET {setting}")
        psql.execute(UPDATE)
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 2
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {setting}")
        cursor.execute(UPDATE)
    before = told(Note, note.pk)
    assert (before["stars"], before["weight"]) == (3, 0.1 + 0.2)
    assert before["printed"] == "2026-01-02T03:04:05.678901Z"


@pytest.mark.parametrize("how", ["update", "save", "sql"])
def test_a_time_zone_that_is_set_in_a_transaction_is_in_no_cached_row(note, how):
    """Django takes the session's wall clock for its own: neither pushed nor filled."""
    printed = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        if how == "update":
            Note.objects.filter(pk=note.pk).update(printed=printed)
        elif how == "save":
            note.printed = printed
            note.save()
        else:
            cursor.execute("UPDATE bookshop_note SET printed = %s", [printed])
    assert told(Note, note.pk)["printed"] == "2026-01-02T03:04:05Z"
    empty_redis()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert told(Note, note.pk)["printed"] == "2026-01-02T03:04:05Z"


def test_a_role_that_sees_no_rows_says_nothing_of_them(note, stranger):
    """Row-level security hides from it what it has written; `null` is not the row."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE POLICY seen ON bookshop_note FOR SELECT USING (false)")
        cursor.execute("CREATE POLICY written ON bookshop_note FOR UPDATE USING (true)")
        cursor.execute("ALTER TABLE bookshop_note ENABLE ROW LEVEL SECURITY")
        try:
            with transaction.atomic():
                cursor.execute(f"SET LOCAL ROLE {stranger}")
                cursor.execute("UPDATE bookshop_note SET text = 'new'")
            assert told(Note, note.pk)["text"] == "new"
        finally:
            cursor.execute("ALTER TABLE bookshop_note DISABLE ROW LEVEL SECURITY")
            cursor.execute(
                "DROP POLICY seen ON bookshop_note; DROP POLICY written ON bookshop_note"
            )
