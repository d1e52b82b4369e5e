"""Bulk writes, cascades and relations: everything that sends no post_save."""

import orjson
import pytest
from django.core import serializers
from django.db.models import Count

import cachelayer
from cachelayer.protocol import key_states, key_values
from cachelayer.tests.bookshop.models import Audiobook, Author, Book, Note, Publisher, Tag
from cachelayer.tests.interleaving import start, stopped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(value):
    """The row that the cache holds of an instance."""

    def held(instance):
        found = value(f"{instance._meta.model_name}:{instance.pk}")
        return found if found is None or found == key_values.NULL else orjson.loads(found)

    return held


@pytest.fixture
def shown():
    """What a reader is told of an instance, twice: loaded, and from the cache."""

    def shown(instance):
        model = type(instance)
        first, second = [cachelayer.read(model, instance.pk) for _ in range(2)]
        assert (second.outcome, second.row) == ("hit", first.row)
        return orjson.loads(second.row)

    return shown


def test_update_pushes_the_rows_that_it_matched_and_no_other(held, round_trips):
    a, b = Note.objects.bulk_create([Note(stars=1), Note(stars=2)])
    round_trips.clear()
    assert Note.objects.filter(stars=1).update(stars=5) == 1
    assert round_trips == [["EVALSHA"], ["EVALSHA"]]
    assert (held(a)["stars"], held(b)["stars"]) == (5, 2)


def test_update_of_nothing_costs_nothing(round_trips):
    assert Note.objects.filter(stars=77).update(stars=5) == 0
    assert round_trips == []


def test_update_over_a_join_and_a_count(shown):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    other = Book.objects.create(title="b")
    assert (shown(book)["pages"], shown(other)["pages"]) == (0, 0)
    Book.objects.filter(author__name="A").update(pages=10)
    Book.objects.annotate(n=Count("tags")).filter(n=0, author=None).update(pages=20)
    assert (shown(book)["pages"], shown(other)["pages"]) == (10, 20)


def test_update_through_a_related_manager(shown):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    assert shown(book)["pages"] == 0
    author.book_set.update(pages=3)
    assert shown(book)["pages"] == 3
    author.book_set.clear()
    assert shown(book)["author"] is None
    author.book_set.add(book, bulk=True)
    assert shown(book)["author"] == author.pk


def test_a_row_of_several_tables_is_taken_away_and_not_pushed(held, shown):
    """No one lock covers it: what this transaction would push may lack another's link."""
    book = Book.objects.create(title="a")
    assert held(book) is None
    assert shown(book)["pages"] == 0
    Book.objects.filter(pk=book.pk).update(pages=1)
    assert held(book) is None


def test_bulk_create_of_one_row_pushes_it_and_forgets_that_there_was_none(held):
    pk = "550e8400-e29b-41d4-a716-446655440009"
    assert cachelayer.read(Note, pk).row is None
    [note] = Note.objects.bulk_create([Note(id=pk, text="a")])
    assert held(note)["text"] == "a"


def test_bulk_create_forgets_that_there_was_no_book(shown):
    assert [cachelayer.read(Book, 50).row for _ in range(2)] == [None, None]
    [book] = Book.objects.bulk_create([Book(id=50, title="a")])
    assert shown(book)["title"] == "a"


def test_bulk_create_that_ignores_conflicts_forgets_which_ids_it_made(shown):
    Book.objects.create(title="a", isbn="1")
    last = Book.objects.order_by("-pk").first().pk
    assert [cachelayer.read(Book, last + n).row for n in (1, 2, 3)] == [None] * 3
    Book.objects.bulk_create(
        [Book(title="x", isbn="1"), Book(title="y", isbn="2")], ignore_conflicts=True
    )
    made = Book.objects.get(isbn="2")
    assert last < made.pk <= last + 3, "known absent"
    assert shown(made)["title"] == "y"


def test_bulk_create_that_updates_conflicts_finds_the_row_that_was_there(shown):
    book = Book.objects.create(title="old", isbn="1")
    assert shown(book)["title"] == "old"
    Book.objects.bulk_create(
        [Book(title="new", isbn="1")],
        update_conflicts=True,
        unique_fields=["isbn"],
        update_fields=["title"],
    )
    assert shown(book)["title"] == "new"


def test_bulk_update_pushes(held):
    notes = Note.objects.bulk_create([Note(), Note()])
    for stars, note in enumerate(notes):
        note.stars = stars + 10
    Note.objects.bulk_update(notes, ["stars"], batch_size=1)
    assert [held(note)["stars"] for note in notes] == [10, 11]


def test_queryset_delete_makes_rows_known_absent(held):
    note = Note.objects.create()
    Note.objects.filter(pk=note.pk).delete()
    assert held(note) == key_values.NULL
    assert cachelayer.read(Note, note.pk) == cachelayer.Read("hit", None)


def test_raw_delete_makes_rows_known_absent(held):
    note = Note.objects.create()
    Note.objects.filter(pk=note.pk)._raw_delete("default")
    assert held(note) == key_values.NULL


def test_a_cascade_deletes_from_the_cache(shown):
    publisher = Publisher.objects.create(name="P")
    book = Book.objects.create(title="a", publisher=publisher)
    assert shown(book)["title"] == "a"
    publisher.delete()
    assert cachelayer.read(Book, book.pk).row is None


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_cascade_that_sets_null_is_followed(shown, how):
    author = Author.objects.create(name="A")
    book = Book.objects.create(title="a", author=author)
    assert shown(book)["author"] == author.pk
    if how == "instance":
        author.delete()
    else:
        Author.objects.filter(pk=author.pk).delete()
    assert shown(book)["author"] is None


def test_links_are_followed_from_both_sides(shown):
    book = Book.objects.create(title="a")
    tag, other = Tag.objects.create(name="t"), Tag.objects.create(name="o")
    assert shown(book)["tags"] == []
    book.tags.add(tag)
    assert shown(book)["tags"] == [tag.pk]
    other.book_set.add(book)
    assert sorted(shown(book)["tags"]) == [tag.pk, other.pk]
    other.book_set.clear()
    assert shown(book)["tags"] == [tag.pk]
    book.tags.remove(tag)
    assert shown(book)["tags"] == []
    book.tags.set([other])
    assert shown(book)["tags"] == [other.pk]


def test_two_transactions_that_link_the_same_row_are_both_seen(shown):
    """They lock no common row: each adds its mark, and a reader waits for the end of both."""
    book = Book.objects.create(title="a")
    first, second = Tag.objects.create(name="1"), Tag.objects.create(name="2")
    with stopped(key_states, "release") as release:
        one = start(lambda: Book.objects.get(pk=book.pk).tags.add(first))
        release.reached()
        Book.objects.get(pk=book.pk).tags.add(second)
        assert sorted(shown(book)["tags"]) == [first.pk, second.pk]
        release.release()
        one.result()
    assert sorted(shown(book)["tags"]) == [first.pk, second.pk]


def test_a_child_and_its_parent_are_one_row(shown):
    audio = Audiobook.objects.create(title="a", minutes=5)
    parent = Book.objects.get(pk=audio.pk)
    assert (shown(parent)["title"], shown(audio)["title"]) == ("a", "a")
    parent.title = "b"
    parent.save()
    assert (shown(parent)["title"], shown(audio)["title"]) == ("b", "b")
    Audiobook.objects.filter(pk=audio.pk).update(title="c", minutes=6)
    assert (shown(parent)["title"], shown(audio)["title"]) == ("c", "c")
    assert shown(audio)["minutes"] == 6
    Book.objects.filter(pk=audio.pk).update(title="d")
    assert shown(audio)["title"] == "d"
    pk = audio.pk
    audio.delete(keep_parents=True)
    assert shown(parent)["title"] == "d"
    assert cachelayer.read(Audiobook, pk).row is None
    Book.objects.filter(pk=parent.pk).delete()
    assert cachelayer.read(Book, pk).row is None


def test_a_child_and_its_parent_that_are_written_at_once_do_not_wait_for_each_other(shown):
    """A row of two tables is invalidated without a lock of both."""
    audio = Audiobook.objects.create(title="a", minutes=5)
    with stopped(key_states, "mark") as mark:
        child = start(Audiobook.objects.filter(pk=audio.pk).update, minutes=6)
        mark.reached()
        Book.objects.filter(pk=audio.pk).update(title="b")
        mark.release()
        child.result()
    assert (shown(audio)["title"], shown(audio)["minutes"]) == ("b", 6)


def test_a_fixture_that_is_loaded_in_autocommit_is_followed(held):
    note = Note.objects.create(stars=1)
    fixture = serializers.serialize("json", [note]).replace('"stars": 1', '"stars": 2')
    [loaded] = serializers.deserialize("json", fixture)
    loaded.save()
    assert held(note)["stars"] == 2
