"""Bulk writes, cascades and relations: everything that sends no post_save."""

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

import cachelayer
from cachelayer import states
from cachelayer.tests.bookshop.models import Audiobook, Author, Book, Note, Publisher, Tag
from cachelayer.tests.interleaving import start, stopped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(value):
    """The row that the cache holds of an instance."""

    def held(instance):
        found = value(f"{instance._meta.model_name}:{instance.pk}")
        return found if found is None or found == states.NULL else orjson.loads(found)

    return held


def test_update_pushes_the_rows_that_it_matched_and_no_other(held, round_trips):
    a, b = Note.objects.bulk_create([Note(stars=1), Note(stars=2)])
    round_trips.clear()
    assert Note.objects.filter(stars=1).update(stars=5) == 1
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]
    assert (held(a)["stars"], held(b)["stars"]) == (5, 2)


def test_update_asks_which_rows_it_wrote_in_the_same_statement():
    Note.objects.create()
    with CaptureQueriesContext(connection) as queries:
        Note.objects.update(stars=5)
    sql = [query["sql"] for query in queries]
    assert [statement.split()[0] for statement in sql] == ["BEGIN", "UPDATE", "SELECT", "COMMIT"]
    assert sql[1].endswith('RETURNING "bookshop_note"."id"')


def test_update_of_nothing_costs_nothing(round_trips):
    assert Note.objects.filter(stars=77).update(stars=5) == 0
    assert round_trips == []


def test_update_over_a_join_and_a_count(held):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    other = Book.objects.create(title="b")
    Book.objects.filter(author__name="A").update(pages=10)
    Book.objects.annotate(n=Count("tags")).filter(n=0, author=None).update(pages=20)
    assert (held(book)["pages"], held(other)["pages"]) == (10, 20)


def test_update_through_a_related_manager(held):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    author.book_set.update(pages=3)
    assert held(book)["pages"] == 3
    author.book_set.clear()
    assert held(book)["author"] is None
    author.book_set.add(book, bulk=True)
    assert held(book)["author"] == author.pk


def test_bulk_create_pushes_each_row_and_forgets_that_there_was_none(held):
    assert cachelayer.read(Book, 50).row is None
    [book] = Book.objects.bulk_create([Book(id=50, title="a")])
    assert held(book)["title"] == "a"


def test_bulk_create_that_ignores_conflicts_learns_which_ids_it_made(held):
    Book.objects.create(title="a", isbn="1")
    last = Book.objects.order_by("-pk").first().pk
    assert [cachelayer.read(Book, last + n).row for n in (1, 2, 3)] == [None] * 3
    Book.objects.bulk_create(
        [Book(title="x", isbn="1"), Book(title="y", isbn="2")], ignore_conflicts=True
    )
    made = Book.objects.get(isbn="2")
    assert held(made)["title"] == "y"


def test_bulk_create_that_updates_conflicts_finds_the_row_that_was_there(held):
    book = Book.objects.create(title="old", isbn="1")
    Book.objects.bulk_create(
        [Book(title="new", isbn="1")],
        update_conflicts=True,
        unique_fields=["isbn"],
        update_fields=["title"],
    )
    assert held(book)["title"] == "new"


def test_bulk_update_pushes(held):
    notes = Note.objects.bulk_create([Note(), Note()])
    for stars, note in enumerate(notes):
        note.stars = stars + 10
    Note.objects.bulk_update(notes, ["stars"], batch_size=1)
    assert [held(note)["stars"] for note in notes] == [10, 11]


def test_queryset_delete_makes_rows_known_absent(held):
    note = Note.objects.create()
    Note.objects.filter(pk=note.pk).delete()
    assert held(note) == states.NULL
    assert cachelayer.read(Note, note.pk) == cachelayer.Read("hit", None)


def test_raw_delete_makes_rows_known_absent(held):
    note = Note.objects.create()
    Note.objects.filter(pk=note.pk)._raw_delete("default")
    assert held(note) == states.NULL


def test_a_cascade_deletes_from_the_cache(held):
    publisher = Publisher.objects.create(name="P")
    book = Book.objects.create(title="a", publisher=publisher)
    publisher.delete()
    assert held(book) == states.NULL


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_cascade_that_sets_null_is_followed(held, how):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    if how == "instance":
        author.delete()
    else:
        Author.objects.filter(pk=author.pk).delete()
    assert held(book)["author"] is None


def test_links_are_followed_from_both_sides(held):
    book = Book.objects.create(title="a")
    tag, other = Tag.objects.create(name="t"), Tag.objects.create(name="o")
    book.tags.add(tag)
    assert held(book)["tags"] == [tag.pk]
    other.book_set.add(book)
    assert sorted(held(book)["tags"]) == [tag.pk, other.pk]
    other.book_set.clear()
    assert held(book)["tags"] == [tag.pk]
    book.tags.remove(tag)
    assert held(book)["tags"] == []
    book.tags.set([other])
    assert held(book)["tags"] == [other.pk]


def test_two_transactions_that_link_the_same_row_are_both_seen(held):
    book = Book.objects.create(title="a")
    first, second = Tag.objects.create(name="1"), Tag.objects.create(name="2")
    with stopped(states, "mark") as mark:
        one = start(lambda: Book.objects.get(pk=book.pk).tags.add(first))
        mark.reached()
        two = start(lambda: Book.objects.get(pk=book.pk).tags.add(second))
        mark.release()
        one.result()
        two.result()
    assert sorted(held(book)["tags"]) == [first.pk, second.pk]


def test_a_child_and_its_parent_are_one_row(held):
    audio = Audiobook.objects.create(title="a", minutes=5)
    parent = Book.objects.get(pk=audio.pk)
    assert held(parent)["title"] == "a"
    parent.title = "b"
    parent.save()
    assert held(audio)["title"] == "b"
    Audiobook.objects.filter(pk=audio.pk).update(title="c", minutes=6)
    assert (held(parent)["title"], held(audio)["title"], held(audio)["minutes"]) == ("c", "c", 6)
    Book.objects.filter(pk=audio.pk).update(title="d")
    assert held(audio)["title"] == "d"
    audio.delete(keep_parents=True)
    assert held(parent)["title"] == "d"
    Book.objects.filter(pk=parent.pk).delete()
    assert held(parent) == states.NULL


def test_a_save_past_model_save_outside_a_transaction_is_refused():
    from django.core import serializers

    note = Note.objects.create(stars=1)
    fixture = serializers.serialize("json", [note]).replace('"stars": 1', '"stars": 2')
    [loaded] = serializers.deserialize("json", fixture)
    with pytest.raises(TransactionManagementError, match="outside a transaction"):
        loaded.save()
    assert Note.objects.get().stars == 1
    with transaction.atomic():
        loaded.save()
    assert orjson.loads(cachelayer.read(Note, note.pk).row)["stars"] == 2
