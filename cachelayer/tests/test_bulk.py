"""Bulk writes whose rows Django does not know: conflicts, changed keys, rows that are not there."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

import cachelayer
from cachelayer.protocol import key_states
from cachelayer.tests.bookshop.models import Author, Book, Note, Reply, Shelf
from cachelayer.tests.interleaving import start, stopped, wait_for_a_blocked_backend
from cachelayer.tests.postgres_version import needs
from cachelayer.tests.truth import hit, logged, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


def begun_first_ended_last(first, second, end="push"):
    """*first* has sent its SQL; *second* comes to its push; *first* marks; *second* ends, *first*.

    Whoever marks a row without its lock can take *second*'s mark away, and end last.
    """
    with stopped(key_states, "mark") as mark:
        one = start(first)
        mark.reached()
        with stopped(key_states, "push") as second_push:
            two = start(second)
            second_push.reached()
            with stopped(key_states, end) as first_end:
                mark.release()
                first_end.reached()
                second_push.release()
                two.result()
                first_end.release()
                one.result()


def test_an_insert_that_ignores_a_conflict_while_the_row_is_updated(note):
    """bulk_create(ignore_conflicts=True) with the row's own key writes nothing, and locks nothing.

    It may have read the row from before the update: it has no word in what is cached.
    """
    rows = [Note(pk=note.pk, stars=9), Note(stars=3)]
    begun_first_ended_last(
        lambda: Note.objects.bulk_create(rows, ignore_conflicts=True),
        lambda: Note.objects.filter(pk=note.pk).update(stars=2),
    )
    assert told(Note, note.pk)["stars"] == 2
    assert told(Note, rows[1].pk)["stars"] == 3


def test_a_row_that_is_invalidated_while_it_is_created():
    """invalidate() of a missing row, which its creator commits in between: it is not absent."""
    new = Note(stars=3)
    hit(Note, new.pk)
    begun_first_ended_last(
        lambda: cachelayer.invalidate(Note, new.pk),
        lambda: new.save(force_insert=True),
        end="release",
    )
    assert told(Note, new.pk)["stars"] == 3


def test_an_insert_that_ignores_a_conflict_does_not_take_another_writers_mark(note):
    """A bulk_create(ignore_conflicts=True) with the row's own key, between COMMIT and push."""
    with stopped(key_states, "push") as push:
        other = start(Note.objects.filter(pk=note.pk).update, stars=2)
        push.reached()
        Note.objects.bulk_create([Note(pk=note.pk, stars=9)], ignore_conflicts=True)
        assert told(Note, note.pk)["stars"] == 2
        push.release()
        other.result()
    assert told(Note, note.pk)["stars"] == 2


def test_an_insert_that_ignores_a_conflict_waits_for_the_row_and_writes_nothing(note):
    """Before the other's COMMIT: it never marks what another has marked."""
    notes = [Note(pk=note.pk), Note(stars=3)]
    with stopped(key_states, "mark", after=True) as mark:
        other = start(Note.objects.filter(pk=note.pk).update, stars=2)
        mark.reached()
        bulk = start(Note.objects.bulk_create, notes, ignore_conflicts=True)
        wait_for_a_blocked_backend()
        mark.release()
        other.result()
        bulk.result()
    assert told(Note, notes[1].pk)["stars"] == 3
    assert told(Note, note.pk)["stars"] == 2


def test_an_upsert_by_another_column_leaves_the_key_that_was_offered_alone():
    """bulk_create(update_conflicts=True, unique_fields=["isbn"]) with a pk that is created now.

    The row that conflicts has another key. That of the instance in memory was not written: to
    say that it is absent would hide the row which another transaction creates meanwhile.
    """
    book = Book.objects.create(isbn="1", title="old")
    offered = book.pk + 1000
    hit(Book, book.pk, offered)
    with stopped(key_states, "release") as release:
        other = start(Book.objects.create, pk=offered, title="live", isbn="2")
        release.reached()
        Book.objects.bulk_create(
            [Book(pk=offered, isbn="1", title="new")],
            update_conflicts=True,
            unique_fields=["isbn"],
            update_fields=["title"],
        )
        assert told(Book, book.pk)["title"] == "new"
        release.release()
        other.result()
    assert told(Book, offered)["title"] == "live"


def test_an_upsert_of_a_plain_row_pushes_what_it_left(note):
    Note.objects.bulk_create(
        [Note(pk=note.pk, stars=5, text="not taken"), Note(stars=6)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["stars"],
    )
    left = told(Note, note.pk)
    assert (left["stars"], left["text"]) == (5, "")


def test_an_upsert_whose_condition_does_not_hold_writes_nothing(note):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bookshop_note (id, text, stars, updated) VALUES (%s, '', 7, now()) "
            "ON CONFLICT (id) DO UPDATE SET stars = excluded.stars WHERE bookshop_note.stars > 5",
            [note.pk],
        )
    assert told(Note, note.pk)["stars"] == 1


def test_a_merge_names_what_it_inserted_updated_and_deleted(note):
    needs(15, "MERGE")
    gone, new = Note.objects.create(stars=0), Note(stars=4)
    hit(Note, gone.pk, new.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "MERGE INTO bookshop_note n USING (VALUES (%s::uuid), (%s), (%s)) v (id) "
            "ON n.id = v.id WHEN MATCHED AND n.stars = 0 THEN DELETE "
            "WHEN MATCHED THEN UPDATE SET stars = 3 "
            "WHEN NOT MATCHED THEN INSERT (id, text, stars, updated) VALUES (v.id, '', 4, now())",
            [note.pk, gone.pk, new.pk],
        )
    assert told(Note, note.pk)["stars"] == 3
    assert told(Note, gone.pk) is None
    assert told(Note, new.pk)["stars"] == 4


def test_a_row_that_is_not_there_is_invalidated_while_it_is_created():
    """invalidate() of a missing row does not say that it is absent."""
    new = Note(stars=3)
    hit(Note, new.pk)
    with stopped(key_states, "push") as push:
        other = start(new.save, force_insert=True)
        push.reached()
        cachelayer.invalidate(Note, new.pk)
        assert told(Note, new.pk)["stars"] == 3
        push.release()
        other.result()
    assert told(Note, new.pk)["stars"] == 3


def test_a_row_that_is_not_there_is_invalidated_before_its_creator_commits():
    new = Note(stars=3)
    hit(Note, new.pk)
    with stopped(key_states, "mark", after=True) as mark:
        other = start(new.save, force_insert=True)
        mark.reached()
        cachelayer.invalidate(Note, new.pk)
        assert told(Note, new.pk) is None
        mark.release()
        other.result()
    assert told(Note, new.pk)["stars"] == 3


@pytest.mark.parametrize("model", [Note, Book, Shelf])
def test_a_changed_primary_key_is_a_row_less_and_a_row_more(model):
    """Book.objects.filter(pk=old).update(id=new), for keys of each kind."""
    old, new = {
        Note: ("550e8400-e29b-41d4-a716-446655440001", "550e8400-e29b-41d4-a716-446655440002"),
        Book: (71, 72),
        Shelf: ("a:b c", 'ä"%s,{}'),
    }[model]
    model.objects.create(pk=old)
    hit(model, old, new)
    model.objects.filter(pk=old).update(**{model._meta.pk.name: new})
    assert told(model, old) is None
    assert told(model, new) is not None
    assert logged() == set()


def test_keys_that_are_shifted_or_swapped_in_one_statement():
    shelves = [Shelf.objects.create(code=code, name=code) for code in ("a", "b", "c")]
    hit(Shelf, "a", "b", "c", "ab", "bb", "cb")
    Shelf.objects.update(code=Concat(F("code"), Value("b")))
    assert [told(Shelf, shelf.pk) for shelf in shelves] == [None] * 3
    assert [told(Shelf, f"{shelf.pk}b")["name"] for shelf in shelves] == ["a", "b", "c"]


def test_a_key_changed_on_an_instance_is_another_row(note):
    old, note.pk = note.pk, "550e8400-e29b-41d4-a716-446655440003"
    note.stars = 8
    hit(Note, note.pk)
    note.save()
    assert told(Note, old)["stars"] == 1
    assert told(Note, note.pk)["stars"] == 8


def test_a_key_that_the_database_changes_in_other_tables(note):
    """ON UPDATE CASCADE of a foreign key that Django knows nothing of."""
    reply = Reply.objects.create(note=note)
    new = "550e8400-e29b-41d4-a716-446655440004"
    hit(Reply, reply.pk)
    hit(Note, new)
    Note.objects.filter(pk=note.pk).update(id=new)
    assert told(Reply, reply.pk)["note"] == new
    assert told(Note, note.pk) is None
    assert told(Note, new)["stars"] == 1


def test_a_delete_of_a_row_that_is_gone_does_not_hide_the_next_of_its_key(note):
    """instance.delete() of a row that another has deleted and creates again."""
    gone = Note.objects.get(pk=note.pk)
    Note.objects.filter(pk=note.pk).delete()
    with stopped(key_states, "push") as push:
        again = start(Note.objects.create, pk=note.pk, stars=2)
        push.reached()
        # Postgres finds the row that was created: so this deletes it, and says so rightly.
        gone.delete()
        assert told(Note, note.pk) is None
        push.release()
        again.result()
    assert told(Note, note.pk) is None


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_delete_that_finds_no_row_leaves_one_that_is_created_now(note, how):
    """The DELETE comes before the other's COMMIT, and its end after the other's push."""
    gone = Note.objects.get(pk=note.pk)
    Note.objects.filter(pk=note.pk).delete()

    def delete():
        if how == "instance":
            gone.delete()
        else:
            Note.objects.filter(pk=note.pk).delete()

    with transaction.atomic():
        delete()
        assert start(Note.objects.create, pk=note.pk, stars=2).result()
        hit_by_another = start(cachelayer.read, Note, note.pk).result()
        assert hit_by_another.outcome == "hit"
    assert told(Note, note.pk)["stars"] == 2


def test_a_multi_table_delete_of_a_row_that_is_gone():
    book = Book.objects.create(pk=5, title="a")
    Book.objects.filter(pk=5).delete()
    with transaction.atomic():
        Book(pk=5).delete()
        start(Book.objects.create, pk=5, title="b").result()
    assert told(Book, book.pk)["title"] == "b"


def test_a_bulk_write_that_fails_leaves_what_there_was(note):
    Note.objects.create(pk="550e8400-e29b-41d4-a716-446655440005")
    with pytest.raises(IntegrityError):
        Note.objects.bulk_create([Note(stars=3), Note(pk=note.pk)])
    with pytest.raises(IntegrityError):
        Note.objects.update(id=note.pk)
    assert told(Note, note.pk)["stars"] == 1


def test_bulk_update_in_batches_with_a_row_that_is_gone(note):
    gone = Note.objects.create()
    Note.objects.filter(pk=gone.pk).delete()
    hit(Note, gone.pk)
    for each in (note, gone):
        each.stars = 44
    assert Note.objects.bulk_update([note, gone], ["stars"], batch_size=1) == 1
    assert told(Note, note.pk)["stars"] == 44
    assert told(Note, gone.pk) is None


def test_get_or_create_and_update_or_create(note):
    new = "550e8400-e29b-41d4-a716-446655440006"
    hit(Note, new)
    Note.objects.get_or_create(pk=new, defaults={"stars": 2})
    assert told(Note, new)["stars"] == 2
    Note.objects.update_or_create(pk=new, defaults={"stars": 3})
    Note.objects.update_or_create(pk=note.pk, defaults={"stars": F("stars") + 5})
    assert told(Note, new)["stars"] == 3
    assert told(Note, note.pk)["stars"] == 6


def test_an_update_by_a_subquery_of_another_table():
    author = Author.objects.create(name="A")
    books = [Book.objects.create(title=title, author=author) for title in "ab"]
    hit(Book, *(book.pk for book in books))
    Book.objects.filter(author__in=Author.objects.filter(name="A")).update(pages=F("pages") + 2)
    assert [told(Book, book.pk)["pages"] for book in books] == [2, 2]
