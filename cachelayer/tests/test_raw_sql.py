"""SQL that is not Django's own: wrapped, commented, sent past it, by other programs."""

from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, transaction

import cachelayer
from cachelayer.protocol import drain
from cachelayer.tests.bookshop.models import Book, Note, Reply, Shelf
from cachelayer.tests.truth import hit, logged, outside, repaired, told

pytestmark = pytest.mark.django_db(transaction=True)

UPDATE = "UPDATE bookshop_note SET stars = stars + 1"


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@contextmanager
def rewriting(before="", behind=""):
    """As pgtrigger.ignore(), pghistory.context() and sqlcommenter do: they write into the SQL."""

    def wrap(execute, sql, params, many, context):
        return execute(f"{before}{sql}{behind}", params, many, context)

    with connection.execute_wrapper(wrap):
        yield


#: What stands around the statement, and whether its sender is known to listen all the same.
AROUND = [
    ("SELECT set_config('pgtrigger.ignore', '{x:y}', true); ", "", True),
    ("SELECT 1, 2; SELECT set_config('a.b', 'c;d', true); ", "", True),
    ("/* who=me */ ", "", True),
    ("", " /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/", True),
    ("", " /*a*/ /*b*/\n", True),
    ("", " -- a comment to the end of the line", False),
    ("", ";", False),
]


@pytest.mark.parametrize(("before", "behind", "is_heard"), AROUND)
@pytest.mark.parametrize("how", ["update", "save", "delete", "bulk_create"])
def test_a_wrapper_that_writes_around_the_sql_hides_nothing(note, before, behind, is_heard, how):
    """pgtrigger.ignore(), pghistory.context(): also in a transaction, inside or outside of it."""
    other = Note(stars=5)
    hit(Note, other.pk)
    note.stars = 2
    with transaction.atomic(), rewriting(before, behind):
        match how:
            case "update":
                Note.objects.filter(pk=note.pk).update(stars=2)
            case "save":
                note.save()
            case "delete":
                Note.objects.filter(pk=note.pk).delete()
            case "bulk_create":
                Note.objects.bulk_create([other])
    if not is_heard:
        assert logged() or told(Note, note.pk)
        drain.drain()
    assert logged() == set(), "nobody repairs what was said"
    left = told(Note, note.pk)
    assert (left and left["stars"]) == {"delete": None, "bulk_create": 1}.get(how, 2)
    assert (told(Note, other.pk) is None) == (how != "bulk_create")


@pytest.mark.parametrize(("before", "behind", "is_heard"), AROUND)
def test_a_wrapper_around_an_autocommit_write(note, before, behind, is_heard):
    with rewriting(before, behind):
        Note.objects.filter(pk=note.pk).update(stars=2)
    drain.drain()
    assert told(Note, note.pk)["stars"] == 2


@pytest.mark.parametrize(
    "sql",
    [
        UPDATE,
        f"{UPDATE};",
        f"  \n-- why\n{UPDATE}",
        f"/* why */ {UPDATE}",
        f"WITH x AS ({UPDATE} RETURNING id) SELECT count(*) FROM x",
        "UPDATE ONLY public.bookshop_note AS n SET stars = stars + 1",
        'update "bookshop_note" set stars=stars+1 returning *',
        f"{UPDATE} WHERE text <> '/*cachelayer*/'",
        f"DO $$ BEGIN {UPDATE}; END $$",
        f"SELECT 1; {UPDATE}; SELECT 2",
        f"EXPLAIN ANALYZE {UPDATE}",
        f"PREPARE up AS {UPDATE}; EXECUTE up; DEALLOCATE up",
    ],
)
@pytest.mark.parametrize("within", ["autocommit", "atomic"])
def test_sql_by_a_cursor_is_followed(note, sql, within):
    """In a transaction it is marked, never only logged: also where it ends in a semicolon."""
    with connection.cursor() as cursor:
        if within == "atomic":
            with transaction.atomic():
                cursor.execute(sql)
                heard = logged() == set()
        else:
            cursor.execute(sql)
            heard = False
    if heard:
        assert logged() == set()
    drain.drain()
    assert told(Note, note.pk)["stars"] == 2


def test_sql_in_an_atomic_block_is_marked_and_not_only_logged(note):
    """So always under ATOMIC_REQUESTS: what is read right after the COMMIT is the new row."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"{UPDATE};")
    assert told(Note, note.pk)["stars"] == 2
    assert logged() == set()


def test_sql_by_a_cursor_in_autocommit_is_marked(note):
    with connection.cursor() as cursor:
        cursor.execute(UPDATE)
    assert told(Note, note.pk)["stars"] == 2
    assert logged() == set()


def test_executemany_and_a_raw_query(note):
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE bookshop_note SET stars = %s WHERE id = %s", [(2, note.pk)] * 3)
    assert told(Note, note.pk)["stars"] == 2
    list(Note.objects.raw(f"{UPDATE} RETURNING *"))
    assert told(Note, note.pk)["stars"] == 3
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany("UPDATE bookshop_note SET stars = %s WHERE id = %s", [(4, note.pk)] * 3)
    assert told(Note, note.pk)["stars"] == 4


def test_a_function_and_a_procedure_of_the_projects_own(note):
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE FUNCTION raise_all() RETURNS void LANGUAGE sql AS '{UPDATE}'")
        cursor.execute(f"CREATE PROCEDURE raise_more() LANGUAGE sql AS '{UPDATE}'")
        try:
            with transaction.atomic():
                cursor.execute("SELECT raise_all()")
            assert told(Note, note.pk)["stars"] == 2
            with transaction.atomic():
                cursor.callproc("raise_all")  # This goes past Django's wrappers.
            repaired(f"note:{note.pk}")
            assert told(Note, note.pk)["stars"] == 3
            cursor.execute("CALL raise_more()")
            repaired(f"note:{note.pk}")
            assert told(Note, note.pk)["stars"] == 4
        finally:
            cursor.execute("DROP FUNCTION raise_all; DROP PROCEDURE raise_more")


def test_a_transaction_in_one_text_is_logged(note):
    with connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {UPDATE}; COMMIT")
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 2


def test_a_commit_in_the_middle_of_a_transaction_is_logged(note):
    """What was heard before it is committed past Django's own COMMIT, without a mark."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(UPDATE)
        cursor.execute(f"COMMIT; BEGIN; {UPDATE}")
    drain.drain()
    assert told(Note, note.pk)["stars"] == 3


def test_what_goes_past_djangos_cursors_is_logged(note):
    raw = connection.connection
    raw.execute(UPDATE)
    with raw.pipeline():
        raw.execute(UPDATE)
        raw.execute(UPDATE)
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 4
    with transaction.atomic():
        connection.connection.execute(UPDATE)
        connection.connection.execute(psycopg.sql.SQL(UPDATE))
    repaired(f"note:{note.pk}")
    assert told(Note, note.pk)["stars"] == 6


def test_composed_sql_by_a_cursor_is_followed(note):
    sql = psycopg.sql.SQL("UPDATE {} SET stars = 2").format(psycopg.sql.Identifier("bookshop_note"))
    with connection.cursor() as cursor:
        cursor.execute(sql)
        drain.drain()
        assert told(Note, note.pk)["stars"] == 2
        with transaction.atomic():
            cursor.execute(sql + psycopg.sql.SQL(" + 1"))
    drain.drain()
    assert told(Note, note.pk)["stars"] == 3


def test_copy_by_djangos_cursor(note):
    new = Note(stars=7)
    hit(Note, new.pk)
    with (
        transaction.atomic(),
        connection.cursor() as cursor,
        cursor.copy("COPY bookshop_note (id, text, stars, updated) FROM STDIN") as copy,
    ):
        copy.write_row([new.pk, "", 7, "2026-01-01"])
    repaired(f"note:{new.pk}")
    assert told(Note, new.pk)["stars"] == 7


def test_a_read_in_a_transaction_after_its_own_sql_is_its_own(note):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(UPDATE)
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        assert told(Note, note.pk)["stars"] == 2


def test_a_text_key_with_everything_in_it_is_logged_as_it_is():
    code = "a:b*?[x]\\ 'ä\" %s\t{}"
    Shelf.objects.create(code=code)
    Shelf.objects.create(code="*", name="star")
    hit(Shelf, code, "*")
    with outside() as psql:
        psql.execute("UPDATE bookshop_shelf SET name = 'new'")
    drain.drain()
    assert told(Shelf, code)["name"] == told(Shelf, "*")["name"] == "new"
    Shelf.objects.filter(pk=code).update(name="newer")
    Shelf.objects.filter(pk="*").update(name="newer")
    assert told(Shelf, code)["name"] == told(Shelf, "*")["name"] == "newer"


def test_truncate_with_what_hangs_on_it(note):
    reply = Reply.objects.create(note=note)
    book = Book.objects.create(title="a")
    hit(Reply, reply.pk)
    hit(Book, book.pk)
    with outside() as psql:
        psql.execute("TRUNCATE bookshop_note CASCADE")
    drain.drain()
    assert (told(Note, note.pk), told(Reply, reply.pk)) == (None, None)
    assert told(Book, book.pk)["title"] == "a"
