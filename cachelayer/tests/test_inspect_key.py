"""Looking at one key never calls a write in flight a difference."""

import pytest
from django.db import transaction

from cachelayer.operations import inspect_key
from cachelayer.protocol import key_states
from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.tests.bookshop.models import Author, Note
from cachelayer.tests.interleaving import start, stopped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def test_a_write_between_the_two_looks_is_no_difference(note, monkeypatch):
    load = inspect_key.read_rows
    written = []

    def written_meanwhile(*args):
        if not written:
            written.append(True)
            Note.objects.filter(pk=note.pk).update(stars=2)
        return load(*args)

    monkeypatch.setattr(inspect_key, "read_rows", written_meanwhile)
    look = inspect_key.inspect_text(f"note:{note.pk}")
    assert look.verdict == "same"
    assert b'"stars":2' in look.value


def test_bytes_that_differ_in_no_field_differ_all_the_same(note, value):
    key = f"note:{note.pk}"
    transport.client().set(key, value(key).replace(b",", b", "))
    look = inspect_key.inspect_text(key)
    assert look.verdict == "differs"
    assert not any(field.differs for field in look.fields)


def test_without_redis_the_row_is_there(note, away):
    look = inspect_key.inspect_text(f"note:{note.pk}")
    assert (look.state, look.verdict) == (None, "unknown")
    assert look.redis_error
    assert b'"stars":1' in look.row


def test_a_value_of_somebody_else_under_our_key(note):
    key = f"note:{note.pk}"
    transport.client().delete(key)
    transport.client().hset(key, "theirs", "1")
    look = inspect_key.inspect_text(key)
    assert look.verdict == "unknown"
    assert "WRONGTYPE" in look.redis_error
    transport.client().delete(key)
    transport.client().set(key, "theirs")
    assert inspect_key.inspect_text(key).state == "foreign"


def test_it_looks_at_a_redis_that_settles_as_well(note, monkeypatch):
    monkeypatch.setattr(gate, "_run", lambda: None)
    gate.settle("for this test")
    assert inspect_key.inspect_text(f"note:{note.pk}").state == "row"


def test_it_takes_no_lease_and_counts_no_read(note, value, round_trips):
    key = f"note:{note.pk}"
    transport.client().delete(key)
    round_trips.clear()
    assert inspect_key.inspect_text(key).verdict == "nothing"
    assert value(key) is None
    assert [command for trip in round_trips for command in trip] == ["GET", "PTTL"]


@pytest.mark.parametrize(
    ("prefix", "text", "key"),
    [("book", "7", "book:7"), ("book", " 007 ", "book:7"), ("note", "book:7", "book:7")],
)
def test_what_a_person_types_becomes_a_key(prefix, text, key):
    assert inspect_key.parse(prefix, text) == key


@pytest.mark.parametrize(("prefix", "text"), [("book", ""), ("book", "x"), ("none", "7")])
def test_what_is_no_key_is_refused(prefix, text):
    with pytest.raises(ValueError, match=r"\.$"):
        inspect_key.parse(prefix, text)


def test_the_ttl_of_a_row(note):
    look = inspect_key.inspect_text(f"note:{note.pk}")
    assert 200 < look.ttl <= 300
    assert look.is_writing is None


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_mark_is_of_a_transaction_that_runs_or_has_ended(note, monkeypatch, in_transaction):
    """Also for whoever looks from a transaction that has written something itself."""
    key = f"note:{note.pk}"

    def look():
        if not in_transaction:
            return inspect_key.inspect_text(key)
        with transaction.atomic():
            Author.objects.create(name="A")
            return inspect_key.inspect_text(key)

    monkeypatch.setattr(key_states, "push", lambda rows, token: [])
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(Note.objects.filter(pk=note.pk).update, stars=2)
        mark.reached()
        found = look()
        assert (found.state, found.ttl, found.is_writing) == ("mark", None, True)
        mark.release()
        writer.result()
    found = look()
    assert (found.state, found.ttl, found.is_writing) == ("mark", None, False)
