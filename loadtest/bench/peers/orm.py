"""Writes by the ORM, with the cache layer and without: a project of few models, and no server.

``python -m loadtest.bench.peers.orm cached|plain``. It reads what to do from its standard
input, a line each, ``<name> <count>``, and answers each with the seconds that it took:

    update_one    so many ``update()`` of one row in autocommit; seconds of one
    update_many   one ``update()`` of so many rows, in autocommit
    cascade       the ``delete()`` of a row that so many others refer to

and, only with the cache layer, what is in ``shelf/shown.py`` and ``shelf/stamped.py``; seconds of
one:

    update_50_stamps                  as update_one, of a row with so many stamps
    read_document, read_row           so many hits: of a document with five dependencies, of a row
    update_shown, update_not_shown    as update_one, of a row with five stamps, with none

The two differ in that ``cached`` has the cache layer in its INSTALLED_APPS, and its models
registered. DATABASE_URL is a separate database, and so is REDIS_URL.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

import dj_database_url
import django
from django.conf import settings

_IS_CACHED: Final = sys.argv[1] == "cached"

settings.configure(
    SECRET_KEY="bench",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        *(["cachelayer"] if _IS_CACHED else []),
        "loadtest.bench.peers.shelf",
    ],
    DATABASES={
        "default": {
            **dj_database_url.parse(os.environ["DATABASE_URL"]),
            "CONN_MAX_AGE": None,
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": os.environ["REDIS_URL"],
        }
    },
    USE_TZ=True,
)
django.setup()

# All of these need the settings.
from django.core.cache import caches  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402

from loadtest.bench.peers.shelf import shown, stamped  # noqa: E402
from loadtest.bench.peers.shelf.models import Author, Book  # noqa: E402


def prepare() -> None:
    """The tables, with the witness where it is to be, and a row."""
    call_command("migrate", verbosity=0, run_syncdb=True)
    add(1)
    _wait_until_followed()


def _wait_until_followed() -> None:
    """Until a row that is written is in Redis; ``RuntimeError`` when that takes too long."""
    deadline = time.monotonic() + 20
    while _IS_CACHED and not is_followed():
        if time.monotonic() > deadline:
            raise RuntimeError("The cache layer does not follow the rows that are written.")
        time.sleep(0.1)


def is_followed() -> bool:
    """Whether a row that is written now is in the cache."""
    book = Book.objects.latest("pk")
    Book.objects.filter(pk=book.pk).update(pages=models.F("pages") + 1)
    book.refresh_from_db()
    raw = caches["default"].client.get_client().get(f"book:{book.pk}")  # type: ignore[attr-defined]
    return raw is not None and f'"pages":{book.pages}'.encode() in raw


def add(count: int) -> Author:
    """An author with *count* books more."""
    author = Author.objects.create(name="Somebody")
    books = (Book(title=f"Book {number}", author=author) for number in range(count))
    Book.objects.bulk_create(books, batch_size=10_000)
    return author


def update_one(count: int) -> float:
    """Seconds of one."""
    book = Book.objects.latest("pk")
    start = time.perf_counter()
    for number in range(count):
        Book.objects.filter(pk=book.pk).update(pages=number)
    return (time.perf_counter() - start) / count


def update_many(count: int) -> float:
    """Seconds of all; each writes into a table that is as large, and as tidy, as the last."""
    if Book.objects.count() != count:
        _empty()
        add(count)
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {Book._meta.db_table}")
    start = time.perf_counter()
    assert Book.objects.update(pages=models.F("pages") + 1) == count
    return time.perf_counter() - start


def cascade(count: int) -> float:
    """Seconds of the parent's ``delete()``."""
    add(1)
    author = add(count)
    start = time.perf_counter()
    deleted, _ = author.delete()
    assert deleted == count + 1
    return time.perf_counter() - start


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Book._meta.db_table}, {Author._meta.db_table}")


_WORK: Final[dict[str, Callable[[int], float]]] = {
    "update_one": update_one,
    "update_many": update_many,
    "cascade": cascade,
    **shown.WORK,
    **stamped.WORK,
}


def main() -> None:
    """Do what each line says, until there are no more."""
    prepare()
    _say("ready")
    for line in sys.stdin:
        name, count = line.split()
        _say(str(_WORK[name](int(count))))
        if _IS_CACHED and not is_followed():
            raise RuntimeError("The cache layer has not followed these writes.")


if __name__ == "__main__":
    main()
