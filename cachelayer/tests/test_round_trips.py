"""What each operation costs: round trips to Redis, statements to Postgres."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

import cachelayer
from cachelayer.redis import scripts, transport
from cachelayer.tests.bookshop.models import Author, Note
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.sent import heads, sent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def scripts_are_known():
    """A server that does not know them is sent each once, which costs a round trip more."""
    for script in scripts.every():
        transport.client().script_load(script.text)


@pytest.fixture
def note(round_trips):
    note = Note.objects.create()
    round_trips.clear()
    return note


def test_a_hit_costs_one_round_trip_and_no_statement(note, round_trips):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert round_trips == [["GET"]]
    assert len(queries) == 0


def test_a_miss_costs_three_round_trips_and_one_statement(note, round_trips):
    empty_redis()
    round_trips.clear()
    with CaptureQueriesContext(connection) as queries:
        assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert round_trips == [["GET"], ["EVALSHA"], ["EVALSHA"]]
    assert len(queries) == 1


def test_a_write_costs_two_round_trips_and_its_own_statement(note, round_trips):
    with sent() as texts, transaction.atomic():
        note.save()
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]
    assert heads(texts) == ["UPDATE", "COMMIT"]


def test_a_write_in_autocommit_is_a_transaction_of_its_own(note, round_trips):
    """So that it is marked before it commits. Its BEGIN goes with it: only COMMIT is a trip."""
    with sent() as texts:
        note.save()
        Note.objects.filter(pk=note.pk).update(stars=2)
    assert round_trips == [["EVALSHA"]] * 4
    assert heads(texts, 3) == ['BEGIN; UPDATE "bookshop_note"', "COMMIT"] * 2


def test_an_insert_is_not_read_again(round_trips):
    with sent() as texts:
        Note.objects.create()
    assert len(round_trips) == 2
    assert heads(texts, 2) == ["BEGIN; INSERT", "COMMIT"]


def test_several_rows_are_read_once_before_their_commit(round_trips):
    with sent() as texts, transaction.atomic():
        Note.objects.bulk_create([Note() for _ in range(5)])
    assert heads(texts) == ["INSERT", "SAVEPOINT", "COMMIT"]
    assert "; SELECT " in texts[1]  # In one round trip.


def test_what_is_no_write_of_a_cached_table_has_no_transaction():
    with sent() as texts:
        Author.objects.create(name="A")
        Author.objects.update(name="B")
        assert Note.objects.count() == 0
    assert heads(texts) == ["INSERT", "UPDATE", "SELECT"]


def test_many_rows_that_are_deleted_are_one_statement():
    """No receiver of ours keeps Django from it."""
    Note.objects.bulk_create([Note() for _ in range(5)])
    with sent() as texts, transaction.atomic():
        Note.objects.all().delete()
    assert heads(texts) == ["DELETE", "COMMIT"]


@pytest.mark.parametrize("how", ["one by one", "in savepoints", "in bulk", "update", "delete"])
def test_a_hundred_rows_of_one_transaction_cost_two_round_trips(how, round_trips):
    notes = [Note() for _ in range(100)]
    if how in ("update", "delete"):
        Note.objects.bulk_create(notes)
    round_trips.clear()
    with transaction.atomic():
        if how == "in bulk":
            Note.objects.bulk_create(notes)
        elif how == "update":
            Note.objects.update(stars=1)
        elif how == "delete":
            Note.objects.all().delete()
        else:
            for note in notes:
                with transaction.atomic(savepoint=how == "in savepoints"):
                    note.save(force_insert=True)
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]


def test_a_hundred_hits_cost_one_round_trip(round_trips):
    notes = Note.objects.bulk_create([Note() for _ in range(100)])
    round_trips.clear()
    found = cachelayer.read_many(Note, [note.pk for note in notes])
    assert round_trips == [["MGET"]]
    assert [read.outcome for read in found.values()] == ["hit"] * 100


def test_a_list_fills_what_it_has_loaded(round_trips):
    """So that the next page of the same rows costs one round trip and no row of Postgres."""
    notes = Note.objects.bulk_create([Note() for _ in range(100)])
    pks = [note.pk for note in notes]
    keys = [f"note:{pk}" for pk in pks]
    transport.client().delete(*keys[:90])
    mark = f"w:somebody:{running_transaction()}".encode()
    transport.client().set(keys[0], mark)
    round_trips.clear()
    with CaptureQueriesContext(connection) as queries:
        rows = cachelayer.rows(Note, [*pks, 0])
    assert rows == [cachelayer.render(note) for note in notes]
    assert round_trips == [["MGET"], ["EVALSHA"], ["EVALSHA"]]
    assert len(queries) == 2, "whether the mark's transaction has ended, and the rows"
    round_trips.clear()
    with CaptureQueriesContext(connection) as queries:
        assert cachelayer.rows(Note, pks[1:]) == rows[1:]
    assert round_trips == [["MGET"]]
    assert len(queries) == 0
    assert transport.client().get(keys[0]) == mark, "a writer's mark stays"


@pytest.mark.parametrize("find", [cachelayer.read_many, cachelayer.rows])
def test_inside_a_transaction_that_has_written_nothing_is_filled(note, find):
    """It may see rows that are newer than what everybody else may see."""
    other = Note.objects.create()
    empty_redis()
    with transaction.atomic():
        note.save()
        assert len(find(Note, [note.pk, other.pk])) == 2
        assert transport.client().get(f"note:{other.pk}") is None


def test_a_server_that_forgot_the_scripts_gets_them_again(note, round_trips, value):
    transport.client().script_flush()
    note.stars = 2
    note.save()
    assert round_trips == [["EVALSHA"], ["EVAL"], ["EVALSHA"], ["EVAL"]]
    round_trips.clear()
    note.save()
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]
    assert value(f"note:{note.pk}") == cachelayer.render(note)


def running_transaction():
    """The xid that the next transaction will have: it is not known to have ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
        return cursor.fetchone()[0]
