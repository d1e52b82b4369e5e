"""Looking at one key never calls a write in flight a difference."""

import pytest
from django.db import transaction

from cachelayer import link, lookup, states
from cachelayer.gate import gate
from cachelayer.tests.bookshop.models import Author, Note
from cachelayer.tests.interleaving import start, stopped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def test_a_write_between_the_two_looks_is_no_difference(note, monkeypatch):
    load = lookup.read_rows
    written = []

    def written_meanwhile(*args):
        if not written:
            written.append(True)
            Note.objects.filter(pk=note.pk).update(stars=2)
        return load(*args)

    monkeypatch.setattr(lookup, "read_rows", written_meanwhile)
    look = lookup.look_at(f"note:{note.pk}")
    assert look.verdict == "same"
    assert b'"stars":2' in look.value


def test_bytes_that_differ_in_no_field_differ_all_the_same(note, value):
    key = f"note:{note.pk}"
    link.client().set(key, value(key).replace(b",", b", "))
    look = lookup.look_at(key)
    assert look.verdict == "differs"
    assert not any(field.differs for field in look.fields)


def test_without_redis_the_row_is_there(note, away):
    look = lookup.look_at(f"note:{note.pk}")
    assert (look.state, look.verdict) == (None, "unknown")
    assert look.redis_error
    assert b'"stars":1' in look.row


def test_a_value_of_somebody_else_under_our_key(note):
    key = f"note:{note.pk}"
    link.client().delete(key)
    link.client().hset(key, "theirs", "1")
    look = lookup.look_at(key)
    assert look.verdict == "unknown"
    assert "WRONGTYPE" in look.redis_error
    link.client().delete(key)
    link.client().set(key, "theirs")
    assert lookup.look_at(key).state == "foreign"


def test_it_looks_at_a_redis_that_settles_as_well(note, monkeypatch):
    monkeypatch.setattr(gate, "_run", lambda: None)
    gate.settle("for this test")
    assert lookup.look_at(f"note:{note.pk}").state == "row"


def test_it_takes_no_lease_and_counts_no_read(note, value, round_trips):
    key = f"note:{note.pk}"
    link.client().delete(key)
    round_trips.clear()
    assert lookup.look_at(key).verdict == "nothing"
    assert value(key) is None
    assert [command for trip in round_trips for command in trip] == ["GET", "PTTL"]


@pytest.mark.parametrize(
    ("prefix", "text", "key"),
    [("book", "7", "book:7"), ("book", " 007 ", "book:7"), ("note", "book:7", "book:7")],
)
def test_what_a_person_types_becomes_a_key(prefix, text, key):
    assert lookup.parse(prefix, text) == key


@pytest.mark.parametrize(("prefix", "text"), [("book", ""), ("book", "x"), ("none", "7")])
def test_what_is_no_key_is_refused(prefix, text):
    with pytest.raises(ValueError, match=r"\.$"):
        lookup.parse(prefix, text)


def test_the_ttl_of_a_row(note):
    look = lookup.look_at(f"note:{note.pk}")
    assert 200 < look.ttl <= 300
    assert look.is_writing is None


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_mark_is_of_a_transaction_that_runs_or_has_ended(note, monkeypatch, in_transaction):
    """Also for whoever looks from a transaction that has written something itself."""
    key = f"note:{note.pk}"

    def look():
        if not in_transaction:
            return lookup.look_at(key)
        with transaction.atomic():
            Author.objects.create(name="A")
            return lookup.look_at(key)

    monkeypatch.setattr(states, "push", lambda rows, token: [])
    with stopped(states, "mark", after=True) as mark:
        writer = start(Note.objects.filter(pk=note.pk).update, stars=2)
        mark.reached()
        found = look()
        assert (found.state, found.ttl, found.is_writing) == ("mark", None, True)
        mark.release()
        writer.result()
    found = look()
    assert (found.state, found.ttl, found.is_writing) == ("mark", None, False)
