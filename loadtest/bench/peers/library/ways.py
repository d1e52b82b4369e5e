"""The ways to serve the document: what each puts into the settings, and how it reads.

Each gives the JSON bytes of one book, is configured as its documentation says, and promises:

``plain``
    No cache. A read shows what was committed when its queries ran.

``cachelayer``
    This project. A read that begins after a write was acknowledged never shows anything older.

``cacheops``
    django-cacheops with ``ops: "all"``: each queryset is cached, and invalidated after the COMMIT
    of a ``save()``, ``delete()`` or change of a many-to-many link that could change it, before
    the writer goes on. A reader that loads while that happens stores what it loaded, old or not.
    Its documentation wants ``prefetch_related``, because what ``select_related`` joins is not
    followed; ``update()`` is not followed, nor is raw SQL.

``cacheops_function``
    django-cacheops with ``cached_as`` around the reading function, its bytes cached until a row of
    any model that it shows changes. (Querysets of one book's rows, made in each call, invalidate
    less; but to make them costs more than that saves.) Promises as above.

``cacheops_fresh``
    The same with ``keep_fresh=True``, which stores nothing when something was invalidated while
    the function ran. Off by default: what is written often might never be cached.

``cachalot``
    django-cachalot: each query of the ORM is cached with the time at which it had been answered,
    and each table has the time of its last write, noted in the write and after its COMMIT. A cached
    query is used if it is not older than any of its tables. The time is taken after the
    query, so that one that was answered before a COMMIT and stored after it counts as newer. Its
    documentation advises against it for tables with more than some 50 writes a minute.
"""

import importlib
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Final, cast

import orjson

Read = Callable[[int], bytes]

_CACHEOPS: Final = ("cacheops", "cacheops_function", "cacheops_fresh")
NAMES: Final = ("plain", "cachelayer", *_CACHEOPS, "cachalot")


def settings_of(way: str, redis_url: str) -> dict[str, Any]:
    """What *way* adds to Django's settings; its ``APPS`` are to be installed."""
    redis_cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}
    if way == "cachelayer":
        # As the docs have it.
        redis_cache["OPTIONS"] = {"SOCKET_CONNECT_TIMEOUT": 0.05, "SOCKET_TIMEOUT": 0.05}  # type: ignore[assignment]
        return {"APPS": ["rest_framework", "cachelayer"], "CACHES": {"default": redis_cache}}
    if way in _CACHEOPS:
        # Around a function nothing else is to be cached: what is stale there would be taken in.
        ops = "all" if way == "cacheops" else ()
        return {
            "APPS": ["rest_framework", "cacheops"],
            "CACHEOPS_REDIS": redis_url,
            "CACHEOPS": {"library.*": {"ops": ops, "timeout": 60 * 60}},
        }
    if way == "cachalot":
        # Django's own engine for Postgres and django-redis are among those that it supports:
        # it needs no setting.
        return {"APPS": ["rest_framework", "cachalot"], "CACHES": {"default": redis_cache}}
    return {"APPS": ["rest_framework"]}


def reader(way: str) -> Read:
    """How *way* reads a book; Django is set up."""
    if way == "cachelayer":
        from django.apps import apps

        from loadtest.bench.peers.library.models import Book

        # By its name: this package may import nothing of the project.
        cachelayer: Any = apps.get_app_config("cachelayer").module
        return lambda pk: bytes(cachelayer.read(Book, pk).row)
    if way in ("cacheops_function", "cacheops_fresh"):
        from loadtest.bench.peers.library.models import Author, Book, Review, Tag

        shown = (Book, Author, Tag, Book.tags.through, Review)
        cached_as: Any = importlib.import_module("cacheops").cached_as
        load = _rendered("tags", join="author")
        return cast(Read, cached_as(*shown, keep_fresh=way == "cacheops_fresh")(load))
    if way == "cacheops":
        return _rendered("author", "tags")
    return _rendered("tags", join="author")


def _rendered(*prefetched: str, join: str = "") -> Read:
    from loadtest.bench.peers.library.models import Book
    from loadtest.bench.peers.library.serializers import BookSerializer

    def read(pk: int) -> bytes:
        books = Book.objects.prefetch_related(*prefetched)
        book = (books.select_related(join) if join else books).get(pk=pk)
        return orjson.dumps(BookSerializer(book).data)

    return read


def clear(way: str) -> None:
    """Empty the cache of *way*, as its documentation says."""
    if way in _CACHEOPS:
        importlib.import_module("cacheops").invalidate_all()
    elif way == "cachalot":
        importlib.import_module("cachalot.api").invalidate()
    elif way == "cachelayer":
        from django.core.management import call_command

        with redirect_stdout(StringIO()):
            call_command("cache_clear", "--yes")
