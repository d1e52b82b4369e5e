"""What is in the library at first, what is asked for most, and how names say their version."""

import random
from itertools import accumulate
from typing import Final

from loadtest.bench.peers.library.models import Author, Book, Tag

BOOKS: Final = 200
AUTHORS: Final = 50
TAGS: Final = 50
#: Tags of one book.
_TAGS_OF_A_BOOK: Final = 2
#: A book that nobody wants, and its author, whom no other book has: for ``race.py``.
RACED: Final = BOOKS + 1
RACED_AUTHOR: Final = AUTHORS + 1
#: Zipf's law, as of whatever people choose: book 2 is wanted half as often as book 1.
_WANTED: Final = list(accumulate(1 / number for number in range(1, BOOKS + 1)))


def wanted(choice: random.Random) -> int:
    """A book that somebody wants; what is read much is written much, too."""
    return choice.choices(range(1, BOOKS + 1), cum_weights=_WANTED)[0]


def author_of(book: int) -> int:
    """The author of *book*, who stays the same."""
    return book % AUTHORS + 1


def tags_of(book: int) -> list[int]:
    """The tags of *book*, which stay the same."""
    first = book * _TAGS_OF_A_BOOK
    return [(first + each) % TAGS + 1 for each in range(_TAGS_OF_A_BOOK)]


def name(kind: str, pk: int, version: int) -> str:
    """Such as ``author 7|3``: the third new name of author 7."""
    return f"{kind} {pk}|{version}"


def fill() -> None:
    """Everything in version 0, and no reviews."""
    numbers = range(1, AUTHORS + 1)
    Author.objects.bulk_create(Author(pk=n, name=name("author", n, 0)) for n in numbers)
    Tag.objects.bulk_create(Tag(pk=n, name=name("tag", n, 0)) for n in range(1, TAGS + 1))
    for number in range(1, BOOKS + 1):
        title = name("title", number, 0)
        book = Book.objects.create(pk=number, title=title, author_id=author_of(number))
        book.tags.set(tags_of(number))
    Author.objects.create(pk=RACED_AUTHOR, name="somebody|0")
    Book.objects.create(pk=RACED, title="held up|0", author_id=RACED_AUTHOR)


def shown(document: dict[str, object]) -> list[tuple[str, int]]:
    """The things that *document* shows, and in which version; of reviews, how many."""
    names = [document["title"], document["author"], *document["tags"]]  # type: ignore[misc]
    pairs = [str(each).split("|") for each in names]
    reviews = (f"reviews {document['id']}", int(str(document["reviews"])))
    return [*((thing, int(version)) for thing, version in pairs), reviews]
