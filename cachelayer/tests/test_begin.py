"""A write in autocommit carries its BEGIN, and is otherwise what it is without the cache."""

import psycopg
import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.sent import heads, sent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def is_idle():
    raw = connection.connection
    return raw.autocommit and raw.info.transaction_status is TransactionStatus.IDLE


def test_it_gives_the_count_and_the_rows_of_the_statement(note):
    assert Note.objects.update(stars=2) == 1
    assert Note.objects.filter(stars=5).update(stars=6) == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE bookshop_note SET stars = 3 RETURNING id, stars")
        assert cursor.rowcount == 1
        assert [column.name for column in cursor.description] == ["id", "stars"]
        assert cursor.fetchall() == [(note.pk, 3)]
        assert not cursor.nextset()
    assert is_idle()


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("INSERT INTO bookshop_note SELECT * FROM bookshop_note", IntegrityError),
        ("UPDATE bookshop_note SET WHERE", ProgrammingError),
        ("UPDATE bookshop_note SET stars = %s", ProgrammingError),
    ],
    ids=["refused", "not understood", "not sent"],
)
def test_an_error_leaves_no_transaction_behind(note, value, sql, error):
    before = value(f"note:{note.pk}")
    with connection.cursor() as cursor:
        with pytest.raises(error):
            cursor.execute(sql, [] if "%" in sql else None)
        assert is_idle()
        cursor.execute("SELECT stars FROM bookshop_note")
        assert cursor.fetchall() == [(1,)]
    assert value(f"note:{note.pk}") == before
    assert Note.objects.update(stars=2) == 1
    assert b'"stars":2' in value(f"note:{note.pk}")


def test_the_next_transaction_begins_as_always(note):
    Note.objects.update(stars=2)
    with transaction.atomic():
        Note.objects.update(stars=3)
        transaction.set_rollback(True)
    note.refresh_from_db()
    assert note.stars == 2


@pytest.fixture
def with_option(request):
    """The connection as another project sets it up."""
    options = connection.settings_dict["OPTIONS"]
    kept = dict(options)
    options |= request.param
    connection.close()
    vars(connection.features).pop("uses_server_side_binding", None)
    yield
    options.clear()
    options.update(kept)
    connection.close()
    vars(connection.features).pop("uses_server_side_binding", None)


@pytest.mark.parametrize(
    "with_option",
    [{"server_side_binding": True}, {"isolation_level": IsolationLevel.SERIALIZABLE}],
    ids=["parameters that the server binds", "a level of its own"],
    indirect=True,
)
@pytest.mark.usefixtures("with_option")
def test_where_it_cannot_it_is_sent_before(note):
    with sent() as texts:
        assert Note.objects.update(stars=2) == 1
    assert heads(texts) == ["UPDATE", "COMMIT"], "psycopg itself sends the BEGIN"
    assert is_idle()
    note.refresh_from_db()
    assert note.stars == 2


def test_a_pipeline_has_its_own_begin(note):
    raw = connection.connection
    assert isinstance(raw, psycopg.Connection)
    with raw.pipeline(), connection.cursor() as cursor:
        cursor.execute("UPDATE bookshop_note SET stars = 4")
    note.refresh_from_db()
    assert note.stars == 4
