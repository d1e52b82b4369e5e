"""Links that a serializer shows: written from either side, by their model, to the same table."""

import pytest
from django.db import connection, transaction
from django.db.models import Q

from cachelayer.protocol import key_states
from cachelayer.tests.bookshop.models import Author, Book, Film, Role, Tag
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.truth import hit, logged, outside, repaired, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def film():
    """A film with a tag, an actor and one that is like it; each is cached."""
    film, other = Film.objects.create(title="f"), Film.objects.create(title="o")
    film.tags.add(Tag.objects.create(name="t"))
    film.cast.add(Author.objects.create(name="a"))
    film.sequels.add(other)
    film.alike.add(other)
    hit(Film, film.pk, other.pk)
    return film


@pytest.fixture(autouse=True)
def _heard():
    """Nothing here is left to the log, unless a test has drained it."""
    yield
    assert logged() == set()


TAG_WRITES = {
    "tag.delete()": lambda film: Tag.objects.get().delete(),
    "queryset of tags": lambda film: Tag.objects.filter(name="t").delete(),
    "raw delete of links": lambda film: Film.tags.through.objects.all()._raw_delete("default"),
    "links by their model": lambda film: Film.tags.through.objects.filter(film=film).delete(),
    "one link": lambda film: Film.tags.through.objects.get().delete(),
    "remove": lambda film: film.tags.remove(Tag.objects.get()),
    "remove from the other side": lambda film: Tag.objects.get().film_set.remove(film),
    "clear": lambda film: film.tags.clear(),
    "clear from the other side": lambda film: Tag.objects.get().film_set.clear(),
    "set": lambda film: film.tags.set([]),
    "set from the other side": lambda film: Tag.objects.get().film_set.set([]),
}


@pytest.mark.parametrize("write", TAG_WRITES.values(), ids=TAG_WRITES)
def test_a_tag_that_is_taken_away(film, write):
    write(film)
    assert told(Film, film.pk)["tags"] == []


@pytest.mark.parametrize(
    "write",
    [
        lambda film, tag: film.tags.add(tag),
        lambda film, tag: tag.film_set.add(film),
        lambda film, tag: film.tags.set([tag], clear=True),
        lambda film, tag: film.tags.through.objects.create(film=film, tag=tag),
        lambda film, tag: film.tags.through.objects.bulk_create(
            [film.tags.through(film=film, tag=tag)], ignore_conflicts=True
        ),
        lambda film, tag: film.tags.through.objects.filter(film=film).update(tag=tag),
    ],
    ids=["add", "other side", "set", "its model", "in bulk", "update"],
)
def test_a_tag_that_is_added(film, write):
    tag = Tag.objects.create(name="new")
    write(film, tag)
    assert tag.pk in told(Film, film.pk)["tags"]


def test_a_tag_that_is_created_through_the_relation(film):
    tag = film.tags.create(name="new")
    assert tag.pk in told(Film, film.pk)["tags"]
    made, _ = film.tags.get_or_create(name="newer")
    assert made.pk in told(Film, film.pk)["tags"]


def test_links_that_move_to_another_row(film):
    """An update of a link's column names the row that has lost it and the one that has it now."""
    other = Film.objects.get(title="o")
    Film.tags.through.objects.filter(film=film).update(film=other)
    assert told(Film, film.pk)["tags"] == []
    assert told(Film, other.pk)["tags"] == [Tag.objects.get().pk]


def test_roles_by_their_own_model(film):
    author = Author.objects.create(name="b")
    role = Role.objects.create(film=film, author=author)
    assert author.pk in told(Film, film.pk)["cast"]
    role.author = Author.objects.create(name="c")
    role.save()
    assert role.author.pk in told(Film, film.pk)["cast"]
    role.delete()
    assert told(Film, film.pk)["cast"] == [Author.objects.get(name="a").pk]
    film.cast.add(author, through_defaults={"part": "Hamlet"})
    assert author.pk in told(Film, film.pk)["cast"]
    Role.objects.filter(author=author).delete()
    assert author.pk not in told(Film, film.pk)["cast"]
    Role.objects.bulk_create([Role(film=film, author=author)])
    assert author.pk in told(Film, film.pk)["cast"]


@pytest.mark.parametrize("how", ["instance", "queryset", "raw"])
def test_an_actor_who_is_deleted(film, how):
    Book.objects.create(author=Author.objects.get())  # So that Django collects what hangs on it.
    if how == "instance":
        Author.objects.get().delete()
    elif how == "queryset":
        Author.objects.filter(name="a").delete()
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM bookshop_role")
    assert told(Film, film.pk)["cast"] == []


def test_a_link_to_the_same_table_in_one_direction(film):
    other = Film.objects.get(title="o")
    assert (told(Film, film.pk)["sequels"], told(Film, other.pk)["sequels"]) == ([other.pk], [])
    other.sequels.add(film)
    assert told(Film, other.pk)["sequels"] == [film.pk]
    film.prequels.clear()
    assert told(Film, other.pk)["sequels"] == []
    film.prequels.set([other])
    assert told(Film, other.pk)["sequels"] == [film.pk]
    other.delete()
    assert told(Film, film.pk)["sequels"] == []


def test_a_link_to_the_same_table_in_both_directions(film):
    other = Film.objects.get(title="o")
    assert told(Film, other.pk)["alike"] == [film.pk]
    film.alike.remove(other)
    assert (told(Film, film.pk)["alike"], told(Film, other.pk)["alike"]) == ([], [])
    other.alike.add(film)
    assert told(Film, film.pk)["alike"] == [other.pk]
    Film.objects.filter(Q(title="o")).delete()
    assert told(Film, film.pk)["alike"] == []


def test_a_prefetched_list_is_never_what_is_cached(film):
    """Film.objects.prefetch_related("tags").get(), another adds a tag, film.save()."""
    with transaction.atomic():
        held = Film.objects.prefetch_related("tags", "cast").get(pk=film.pk)
        assert len(held.tags.all()) == 1
        tag = start(Film.objects.get(pk=film.pk).tags.create, name="new").result()
        held.title = "new"
        held.save()
    found = told(Film, film.pk)
    assert found["title"] == "new"
    assert tag.pk in found["tags"]


def test_a_related_row_that_is_held_in_memory_is_never_what_is_cached():
    """select_related, and an unsaved change of the row that a foreign key leads to."""
    book = Book.objects.create(title="b", author=Author.objects.create(name="a"))
    held = Book.objects.select_related("author").get()
    held.author.pk = 99
    hit(Book, book.pk)
    held.title = "c"
    held.save(update_fields=["title"])
    found = told(Book, book.pk)
    assert (found["title"], found["author"]) == ("c", book.author.pk)


def test_two_who_link_the_same_row_at_once(film):
    """They lock no common row: the mark of the first stands until it has ended."""
    first, second = Tag.objects.create(name="1"), Tag.objects.create(name="2")
    with stopped(key_states, "mark", after=True) as mark:
        one = start(lambda: Film.objects.get(pk=film.pk).tags.add(first))
        mark.reached()
        film.tags.add(second)
        found = told(Film, film.pk)["tags"]
        assert second.pk in found
        assert first.pk not in found
        mark.release()
        one.result()
    assert {first.pk, second.pk} <= set(told(Film, film.pk)["tags"])


def test_links_by_another_program(film):
    with outside() as psql:
        psql.execute("DELETE FROM bookshop_film_tags")
        psql.execute("DELETE FROM bookshop_role")
        psql.execute("TRUNCATE bookshop_film_alike")
        repaired(f"film:{film.pk}", "film:*")
    found = told(Film, film.pk)
    assert (found["tags"], found["cast"], found["alike"]) == ([], [], [])
    assert len(found["sequels"]) == 1
