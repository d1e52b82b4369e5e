"""Rows of several keys come by one query, whatever the type of the keys."""

import uuid

import pytest

import cachelayer
from cachelayer.protocol import key_states, key_values
from cachelayer.redis.gate import Mode, gate
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.tests.bookshop.models import Audiobook, Book, Note, Shelf
from cachelayer.tests.fresh import empty_redis

pytestmark = pytest.mark.django_db(transaction=True)


def shown(model, pks):
    rows = read_rows(None, registry.get(model), pks)
    assert list(rows) == list(pks)
    return rows


def by_hand(*instances):
    return {instance.pk: cachelayer.render(instance) for instance in instances}


def test_uuids(django_assert_num_queries):
    first, second, missing = Note.objects.create(), Note.objects.create(), uuid.uuid4()
    with django_assert_num_queries(1):
        found = shown(Note, [first.pk, missing, second.pk])
    assert found == {**by_hand(first, second), missing: key_values.NULL}


def test_integers_also_those_that_no_column_can_hold():
    books = [Book.objects.create(title=str(number)) for number in range(3)]
    impossible = [2**63, -(2**63) - 1, 2**70]
    assert shown(Book, [book.pk for book in books]) == by_hand(*books)
    assert shown(Book, [books[0].pk, -(2**63), 2**63 - 1]) == {
        **by_hand(books[0]),
        **dict.fromkeys([-(2**63), 2**63 - 1], key_values.NULL),
    }
    found = shown(Book, [books[0].pk, *impossible])
    assert found == {**by_hand(books[0]), **dict.fromkeys(impossible, key_values.NULL)}


def test_keys_of_a_parent_table():
    books = [Audiobook.objects.create(title="t", minutes=number) for number in range(3)]
    assert shown(Audiobook, [book.pk for book in books]) == by_hand(*books)


def test_text_with_what_has_a_meaning_in_an_array():
    codes = ["a,b", "{}", 'say "x"', "back\\slash", "NULL", " ", "it's", "100%"]
    shelves = [Shelf.objects.create(code=code) for code in codes]
    assert shown(Shelf, codes) == by_hand(*shelves)


def test_more_keys_than_a_script_can_unpack():
    """Lua's unpack() takes fewer than eight thousand values."""
    Note.objects.bulk_create([Note() for _ in range(9000)])
    pks = list(Note.objects.values_list("pk", flat=True))
    empty_redis()
    for outcome in ("miss", "hit"):
        found = cachelayer.read_many(Note, pks)
        assert {read.outcome for read in found.values()} == {outcome}


def test_more_documents_than_a_script_can_unpack():
    assert key_states.get([f"novel:{number}" for number in range(9000)]) == [None] * 9000
    assert gate.mode is Mode.CLOSED
