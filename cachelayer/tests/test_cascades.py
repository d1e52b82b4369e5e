"""What the database does by itself: cascades, columns that are emptied, counts kept by triggers."""

import pytest
from django.db import IntegrityError, connection, transaction

from cachelayer.protocol import key_states
from cachelayer.tests.bookshop.models import (
    Audiobook,
    Author,
    Book,
    Note,
    Parcel,
    Publisher,
    Reply,
    Shelf,
)
from cachelayer.tests.interleaving import start, stopped, wait_for_a_blocked_backend
from cachelayer.tests.truth import hit, logged, outside, repaired, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


@pytest.fixture
def shelf():
    shelf = Shelf.objects.create(code="a")
    hit(Shelf, "a")
    return shelf


@pytest.fixture
def replies(note, shelf):
    replies = Reply.objects.bulk_create([Reply(note=note, shelf=shelf) for _ in range(3)])
    hit(Reply, *(reply.pk for reply in replies))
    return replies


@pytest.mark.parametrize("how", ["instance", "queryset", "raw", "raw in a transaction"])
def test_rows_that_the_database_deletes_with_another(note, replies, how):
    """ON DELETE CASCADE, of which Django knows nothing (DO_NOTHING)."""
    if how == "instance":
        note.delete()
    elif how == "queryset":
        Note.objects.filter(pk=note.pk).delete()
    else:
        with connection.cursor() as cursor:
            if how == "raw":
                cursor.execute("DELETE FROM bookshop_note")
            else:
                with transaction.atomic():
                    cursor.execute("DELETE FROM bookshop_note")
    assert logged() == set()
    assert [told(Reply, reply.pk) for reply in replies] == [None] * 3
    assert told(Note, note.pk) is None


def test_columns_that_the_database_empties(shelf, replies):
    """ON DELETE SET NULL, of which Django knows nothing (DO_NOTHING)."""
    shelf.delete()
    assert [told(Reply, reply.pk)["shelf"] for reply in replies] == [None] * 3
    assert told(Shelf, "a") is None
    assert logged() == set()


def test_a_cascade_of_the_database_that_another_program_begins(note, replies):
    with outside() as psql:
        psql.execute("DELETE FROM bookshop_note")
    repaired(f"note:{note.pk}", *(f"reply:{reply.pk}" for reply in replies))
    assert [told(Reply, reply.pk) for reply in replies] == [None] * 3


def test_a_cascade_of_the_database_that_is_rolled_back(note, replies):
    with transaction.atomic():
        note.delete()
        transaction.set_rollback(True)
    assert all(told(Reply, reply.pk) for reply in replies)


def test_a_count_that_a_trigger_on_another_table_keeps(shelf):
    """The table that is written is not cached; the trigger's own UPDATE is heard all the same."""
    other = Shelf.objects.create(code="b")
    with transaction.atomic():
        shelf.parcel_set.create()
    assert told(Shelf, "a")["parcels"] == 1
    with transaction.atomic():
        Parcel.objects.bulk_create([Parcel(shelf=shelf) for _ in range(3)])
    assert told(Shelf, "a")["parcels"] == 4
    with transaction.atomic():
        Parcel.objects.update(shelf=other)
    assert (told(Shelf, "a")["parcels"], told(Shelf, "b")["parcels"]) == (0, 4)
    with transaction.atomic():
        Parcel.objects.all().delete()
    assert told(Shelf, "b")["parcels"] == 0
    assert logged() == set()


@pytest.mark.parametrize("how", ["save", "sql"])
def test_a_count_in_autocommit_is_right_when_the_log_is_drained(shelf, how):
    """A statement that names no cached table gets no transaction of its own: it is logged."""
    if how == "save":
        Parcel.objects.create(shelf=shelf)
    else:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO bookshop_parcel (shelf_id) VALUES ('a')")
    repaired("shelf:a")
    assert told(Shelf, "a")["parcels"] == 1


def test_a_count_and_a_write_of_the_same_row_in_one_transaction(shelf):
    """The row in memory has the old count; the last notice has the last row."""
    with transaction.atomic():
        Parcel.objects.create(shelf=shelf)
        shelf.name = "new"
        shelf.save(update_fields=["name"])
        Parcel.objects.create(shelf=shelf)
    found = told(Shelf, "a")
    assert (found["name"], found["parcels"]) == ("new", 2)


def test_two_who_count_at_once(shelf):
    # Since Django 6 not every bulk_create has a transaction of its own.
    send = transaction.atomic(Parcel.objects.bulk_create)
    with stopped(key_states, "mark", after=True) as mark:
        first = start(send, [Parcel(shelf=shelf)])
        mark.reached()
        second = start(send, [Parcel(shelf=shelf)])
        wait_for_a_blocked_backend()
        assert told(Shelf, "a")["parcels"] == 0
        mark.release()
        first.result()
        second.result()
    assert told(Shelf, "a")["parcels"] == 2


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_cascades_that_django_collects(how):
    """on_delete=CASCADE and SET_NULL, to a row that is several tables as well."""
    publisher, author = Publisher.objects.create(name="p"), Author.objects.create(name="a")
    deleted = [Book.objects.create(publisher=publisher), Audiobook.objects.create()]
    Book.objects.filter(pk=deleted[1].pk).update(publisher=publisher)
    emptied = Audiobook.objects.create(author=author)
    pks = [*(book.pk for book in deleted), emptied.pk]
    hit(Book, *pks)
    hit(Audiobook, *pks[1:])
    if how == "instance":
        publisher.delete()
        author.delete()
    else:
        Publisher.objects.all().delete()
        Author.objects.all().delete()
    assert [told(Book, pk) for pk in pks[:2]] == [None, None]
    assert told(Audiobook, pks[1]) is None
    assert told(Book, emptied.pk)["author"] is None
    assert logged() == set()


def test_a_child_and_its_parent_written_at_once_do_not_deadlock():
    """One writes the child first and then the parent, the other the other way round."""
    one, two = Audiobook.objects.create(title="1"), Audiobook.objects.create(title="2")
    hit(Audiobook, one.pk, two.pk)
    hit(Book, one.pk, two.pk)
    with stopped(key_states, "mark") as mark:
        child = start(Audiobook.objects.filter(pk=one.pk).update, minutes=5)
        mark.reached()
        Book.objects.filter(pk=one.pk).update(pages=6)
        Audiobook.objects.filter(pk=two.pk).update(title="new")
        mark.release()
        child.result()
    found = told(Audiobook, one.pk)
    assert (found["minutes"], found["pages"]) == (5, 6)
    assert told(Book, two.pk)["title"] == told(Audiobook, two.pk)["title"] == "new"


def test_many_children_and_parents_that_are_written_at_once_are_all_written():
    audio = Audiobook.objects.create(title="0", minutes=0, pages=0)

    def write(n):
        for _ in range(10):
            if n % 2:
                Book.objects.filter(pk=audio.pk).update(pages=n)
            else:
                Audiobook.objects.filter(pk=audio.pk).update(minutes=n)
            told_once = Book.objects.get(pk=audio.pk).pages
            assert told_once in range(4)

    for writer in [start(write, n) for n in range(4)]:
        writer.result()  # No deadlock: none of the writes is refused.
    found = told(Audiobook, audio.pk)
    assert found["pages"] in (1, 3)
    assert found["minutes"] in (0, 2)


def test_a_cascade_that_fails_at_commit_leaves_what_there_was(note, replies):

    @transaction.atomic
    def delete():
        Note.objects.filter(pk=note.pk).delete()
        Book.objects.create(author_id=12345)  # This foreign key is checked at COMMIT.

    with pytest.raises(IntegrityError):
        delete()
    assert told(Note, note.pk)["stars"] == 1
    assert all(told(Reply, reply.pk) for reply in replies)
