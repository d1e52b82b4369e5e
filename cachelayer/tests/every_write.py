"""Ways to write the bookshop's rows, and what may be around a write; for ``test_every_write.py``.

Each way takes two numbers, which choose its rows and values, and writes by one means.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from cachelayer.tests.bookshop.models import (
    Audiobook,
    Author,
    Book,
    Film,
    Note,
    Parcel,
    Publisher,
    Reply,
    Role,
    Shelf,
    Tag,
)
from cachelayer.tests.truth import outside

NOTES: Final = [f"550e8400-e29b-41d4-a716-44665544000{n}" for n in range(3)]
SHELVES: Final = ["a", "b c", "ü:'\"%"]
IDS: Final = [1, 2, 3]
#: Every row that is ever written, by its model.
POOL: Final[dict[Any, list[Any]]] = {
    Note: NOTES, Shelf: SHELVES, Book: IDS, Audiobook: IDS, Film: IDS, Reply: IDS,
}  # fmt: skip

Way = Callable[[int, int], None]


def sql(text: str, *params: Any, many: bool = False) -> None:
    with connection.cursor() as cursor:
        if many:
            cursor.executemany(text, params)
        else:
            cursor.execute(text, params or None)


def some(model: Any, number: int, **values: Any) -> Any:
    """The row of *number* of a table that is not cached; made if it is not there."""
    return model.objects.get_or_create(pk=IDS[number % 3], defaults=values)[0]


def note(a: int, b: int) -> Note:
    return Note(pk=NOTES[a % 3], text=f"text {b}", stars=b)


def save_note(a: int, b: int) -> None:
    note(a, b).save()


def create_shelf(a: int, b: int) -> None:
    Shelf.objects.update_or_create(code=SHELVES[a % 3], defaults={"name": f"name {b}"})


def save_book(a: int, b: int) -> None:
    author, publisher = some(Author, b), some(Publisher, a)
    Book(id=IDS[a % 3], title=f"book {b}", author=author, publisher=publisher).save()


def save_audiobook(a: int, b: int) -> None:
    Audiobook(id=IDS[a % 3], book_ptr_id=IDS[a % 3], title=f"audio {b}", minutes=b).save()


def save_film(a: int, b: int) -> None:
    Film(id=IDS[a % 3], title=f"film {b}").save()


def save_reply(a: int, b: int) -> None:
    note(a, b).save()
    create_shelf(b, a)
    Reply(id=IDS[a % 3], note_id=NOTES[a % 3], shelf_id=SHELVES[b % 3], text=f"{b}").save()


def get_or_create_note(a: int, b: int) -> None:
    Note.objects.get_or_create(pk=NOTES[a % 3], defaults={"stars": b})


def save_some_columns(a: int, b: int) -> None:
    for found in Note.objects.only("stars").filter(pk=NOTES[a % 3]):
        found.stars = F("stars") + b
        found.save(update_fields=["stars"])


def update_notes(a: int, b: int) -> None:
    Note.objects.filter(stars__gte=a).update(stars=F("stars") + 1)


def update_books(a: int, b: int) -> None:
    Book.objects.filter(pk=IDS[a % 3]).update(pages=b)


def update_audiobooks(a: int, b: int) -> None:
    Audiobook.objects.filter(pk=IDS[a % 3]).update(title=f"both {b}", minutes=b)


def change_key(a: int, b: int) -> None:
    Note.objects.filter(pk=NOTES[a % 3]).update(id=NOTES[b % 3])


def bulk_create(a: int, b: int) -> None:
    Note.objects.bulk_create([note(a, b), note(a + 1, b)], ignore_conflicts=True)


def bulk_upsert(a: int, b: int) -> None:
    Note.objects.bulk_create(
        [note(a, b), note(a + 1, b)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["stars", "text"],
    )


def bulk_update(a: int, b: int) -> None:
    found = list(Note.objects.all())
    for each in found:
        each.stars = b
    Note.objects.bulk_update(found, ["stars"], batch_size=2)


def delete_note(a: int, b: int) -> None:
    note(a, b).delete()


def delete_books(a: int, b: int) -> None:
    Book.objects.filter(pk__gte=IDS[a % 3]).delete()


def delete_child_only(a: int, b: int) -> None:
    for found in Audiobook.objects.filter(pk=IDS[a % 3]):
        found.delete(keep_parents=True)


def delete_author(a: int, b: int) -> None:
    Author.objects.filter(pk=IDS[a % 3]).delete()


def delete_publisher(a: int, b: int) -> None:
    some(Publisher, a).delete()


def delete_tag(a: int, b: int) -> None:
    Tag.objects.filter(pk=IDS[a % 3]).delete()


def delete_note_by_sql(a: int, b: int) -> None:
    """The database deletes its replies."""
    sql("DELETE FROM bookshop_note WHERE id = %s", NOTES[a % 3])


def link_tags(a: int, b: int) -> None:
    save_book(a, b)
    Book.objects.get(pk=IDS[a % 3]).tags.set([some(Tag, a), some(Tag, b)])


def unlink_tags(a: int, b: int) -> None:
    some(Tag, b).book_set.clear()
    some(Tag, a).film_set.set(Film.objects.all()[:1])


def cast(a: int, b: int) -> None:
    save_film(a, b)
    Role.objects.create(film_id=IDS[a % 3], author=some(Author, b))
    Role.objects.filter(author_id=IDS[a % 3]).delete()


def alike(a: int, b: int) -> None:
    save_film(a, b)
    save_film(b, a)
    Film.objects.get(pk=IDS[a % 3]).alike.add(IDS[b % 3])
    Film.objects.get(pk=IDS[b % 3]).sequels.set([IDS[a % 3]])


def update_by_sql(a: int, b: int) -> None:
    sql("/* before */ UPDATE bookshop_note SET stars = %s -- behind", b)


def upsert_by_sql(a: int, b: int) -> None:
    sql(
        "INSERT INTO bookshop_shelf (code, name, parcels) VALUES (%s, %s, 0) "
        "ON CONFLICT (code) DO UPDATE SET name = excluded.name /* behind */",
        SHELVES[a % 3],
        f"sql {b}",
    )


def execute_many(a: int, b: int) -> None:
    rows = [(b + n, NOTES[n]) for n in range(3)]
    sql("UPDATE bookshop_note SET stars = %s WHERE id = %s", *rows, many=True)


def truncate(a: int, b: int) -> None:
    sql("TRUNCATE bookshop_reply")


def flush(a: int, b: int) -> None:
    call_command("flush", interactive=False, verbosity=0)


def do_block(a: int, b: int) -> None:
    """The inner block takes its write back."""
    sql(
        f"DO $$ BEGIN UPDATE bookshop_note SET stars = {b}; BEGIN UPDATE bookshop_shelf "
        f"SET name = 'never'; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$"
    )


def two_statements(a: int, b: int) -> None:
    sql(f"UPDATE bookshop_note SET stars = {a}; UPDATE bookshop_shelf SET name = 'two {b}'")


def parcel(a: int, b: int) -> None:
    """A trigger of the database counts it on its shelf."""
    create_shelf(a, b)
    Parcel.objects.create(shelf_id=SHELVES[a % 3])


def past_django(a: int, b: int) -> None:
    connection.ensure_connection()
    connection.connection.execute(f"UPDATE bookshop_note SET stars = {b}")


def copy(a: int, b: int) -> None:
    connection.ensure_connection()
    sql("DELETE FROM bookshop_shelf WHERE code = %s", SHELVES[0])
    with connection.connection.cursor().copy("COPY bookshop_shelf FROM STDIN") as rows:
        rows.write_row((SHELVES[0], f"copied {b}", 0))


def psql(a: int, b: int) -> None:
    with outside() as other:
        other.execute("UPDATE bookshop_note SET stars = %s WHERE id = %s", [b, NOTES[a % 3]])
        other.execute("DELETE FROM bookshop_book_tags")
        other.execute("UPDATE bookshop_book SET title = %s", [f"psql {b}"])


#: What is marked before its COMMIT, wherever it stands.
FOLLOWED: Final[list[Way]] = [
    save_note, create_shelf, save_book, save_audiobook, save_film, save_reply, get_or_create_note,
    save_some_columns, update_notes, update_books, update_audiobooks, change_key, bulk_create,
    bulk_upsert, bulk_update, delete_note, delete_books, delete_child_only, delete_author,
    delete_publisher, delete_tag, delete_note_by_sql, link_tags, unlink_tags, cast, alike,
    update_by_sql, upsert_by_sql, execute_many, truncate, flush,
]  # fmt: skip
#: What is so inside a transaction only: in autocommit nobody can tell that it writes these rows.
IN_TRANSACTIONS: Final[list[Way]] = [do_block, two_statements, parcel]
#: What nobody follows: it goes into the log.
LOGGED: Final[list[Way]] = [past_django, copy]
OUTSIDE: Final[list[Way]] = [psql]


class TakenBack(Exception):  # noqa: N818
    """Ends a block that is to be rolled back."""


@contextmanager
def taken_back() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
            raise TakenBack
    except TakenBack:
        pass


@contextmanager
def savepoint_by_hand(*, kept: bool) -> Iterator[None]:
    with transaction.atomic():
        Note.objects.filter(pk=NOTES[0]).update(text="before the savepoint")
        sid = transaction.savepoint()
        yield
        (transaction.savepoint_commit if kept else transaction.savepoint_rollback)(sid)


@contextmanager
def savepoint_taken_back() -> Iterator[None]:
    with transaction.atomic():
        Note.objects.filter(pk=NOTES[0]).update(text="before the savepoint")
        with taken_back():
            yield


@contextmanager
def without_autocommit(*, committed: bool) -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
        (transaction.commit if committed else transaction.rollback)()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@contextmanager
def isolated(level: str) -> Iterator[None]:
    with transaction.atomic():
        sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        Note.objects.count()
        yield


@contextmanager
def whose_commit_fails() -> Iterator[None]:
    """Django's foreign keys are looked at when the transaction commits."""
    try:
        with transaction.atomic():
            yield
            Role.objects.create(film_id=77, author_id=77)
    except IntegrityError:
        pass


@contextmanager
def in_a_pipeline() -> Iterator[None]:
    with transaction.atomic():
        connection.ensure_connection()
        with connection.connection.pipeline():
            yield


#: What is around a write in a transaction.
TRANSACTIONS: Final[dict[str, Callable[[], Any]]] = {
    "atomic": transaction.atomic,
    "taken back": taken_back,
    "a savepoint by hand": lambda: savepoint_by_hand(kept=True),
    "a savepoint by hand, taken back": lambda: savepoint_by_hand(kept=False),
    "a savepoint that is taken back": savepoint_taken_back,
    "without autocommit": lambda: without_autocommit(committed=True),
    "without autocommit, taken back": lambda: without_autocommit(committed=False),
    "repeatable read": lambda: isolated("REPEATABLE READ"),
    "serializable": lambda: isolated("SERIALIZABLE"),
    "a commit that fails": whose_commit_fails,
}
