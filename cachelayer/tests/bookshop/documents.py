"""Bytes that functions compute from the bookshop's tables."""

from typing import Any

import orjson

import cachelayer
from cachelayer.tests.bookshop.models import Novel, Review, Topic

#: How often each was computed.
calls: list[Any] = []


@cachelayer.document(
    "titles_of",
    ["writer"],
    depends_on=[cachelayer.Rows("bookshop.Novel", writer="writer")],
    lifetime=30,
)
def titles_of(writer):
    calls.append(writer)
    return orjson.dumps(list(Novel.objects.filter(writer=writer).values_list("title", flat=True)))


@cachelayer.document("stars", depends_on=[Review, "bookshop.Topic"])
def stars():
    calls.append(None)
    found = sum(Review.objects.values_list("stars", flat=True))
    return b"w:%d stars, %d topics" % (found, Topic.objects.count())


@cachelayer.document("careless", ["writer"], depends_on=[Novel])
def careless(writer):
    return str(Review.objects.count()).encode()


@cachelayer.document(
    "titles_of_later", ["writer"], depends_on=[cachelayer.Rows("bookshop.Novel", writer="writer")]
)
async def titles_of_later(writer):
    calls.append(("titles_of_later", writer))
    found = Novel.objects.filter(writer=writer).order_by("pk").values_list("title", flat=True)
    return orjson.dumps([title async for title in found])
