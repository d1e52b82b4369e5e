"""Ordinary writes by the ORM, each in a transaction: rename, retitle, add or delete a review.

Each writer has its own rows, so that the versions of a row follow one another. No
write is an ``update()``, which django-cacheops does not follow, as its documentation says.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from django.db import transaction

from loadtest.bench.peers.library.contents import author_of, name, tags_of, wanted
from loadtest.bench.peers.library.models import Author, Book, Review, Tag

#: A book has no more reviews than this.
_MOST_REVIEWS: Final = 4
#: Which thing is written, its new version, and when the write began and was acknowledged.
Written = tuple[str, int, int, int]
#: The primary keys of the rows that belong to a book.
_Of = Callable[[int], list[int]]


class Writer:
    """Number *index* of *count* writers."""

    def __init__(self, index: int, count: int) -> None:
        self._index, self._count = index, count
        self._random = random.Random(index)
        self._versions: dict[str, int] = defaultdict(int)
        self._reviews: dict[int, list[int]] = defaultdict(list)

    def run(self, pause: float, start: float, until: float) -> list[Written]:
        """Write from *start* to *until*, one every *pause* seconds (0: as fast as it goes)."""
        written: list[Written] = []
        due = start + pause * self._index / self._count
        while True:
            time.sleep(max(0.0, min(due, until) - time.monotonic()))
            if time.monotonic() >= until:
                return written
            written.append(self._write())
            due += pause

    def _write(self) -> Written:
        work = self._random.choice((self._author, self._tag, self._book, self._review))
        began = time.monotonic_ns()
        thing, version = work()
        return thing, version, began, time.monotonic_ns()

    def _author(self) -> tuple[str, int]:
        return self._rename(Author, "author", "name", lambda book: [author_of(book)])

    def _tag(self) -> tuple[str, int]:
        return self._rename(Tag, "tag", "name", tags_of)

    def _book(self) -> tuple[str, int]:
        return self._rename(Book, "title", "title", lambda book: [book])

    def _rename(self, model: Any, kind: str, field: str, of_book: _Of) -> tuple[str, int]:
        pk = self._one(of_book)
        thing = f"{kind} {pk}"
        self._versions[thing] += 1
        with transaction.atomic():
            # Locked, so that it comes from Postgres: no cache answers this.
            row = model.objects.select_for_update().get(pk=pk)
            setattr(row, field, name(kind, pk, self._versions[thing]))
            row.save()
        return thing, self._versions[thing]

    def _review(self) -> tuple[str, int]:
        pk = self._one(lambda book: [book])
        mine = self._reviews[pk]
        with transaction.atomic():
            if len(mine) < _MOST_REVIEWS and (not mine or self._random.random() < 0.5):
                mine.append(Review.objects.create(book_id=pk, text="Read it twice.").pk)
            else:
                Review.objects.select_for_update().get(pk=mine.pop()).delete()
        return f"reviews {pk}", len(mine)

    def _one(self, of_book: _Of) -> int:
        """One of the rows of a book that somebody wants, if it is this writer's."""
        while True:
            pk = self._random.choice(of_book(wanted(self._random)))
            if pk % self._count == self._index:
                return pk
