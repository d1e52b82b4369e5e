"""Clearing: rows, nulls and leases go, marks and everybody else's keys stay."""

import pytest

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import clear
from cachelayer.protocol import key_states
from cachelayer.redis import transport
from cachelayer.redis.batches import PIPELINE
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.interleaving import start, stopped

ID = "550e8400-e29b-41d4-a716-446655440001"


def clear_all():
    return sum(clear.clear_all())


def test_rows_nulls_and_leases_go_and_marks_stay(value):
    redis = transport.client()
    redis.mset({"note:1": b"{}", "note:2": b"null", "book:3": b"r:x", "book:4": b"w:x"})
    assert clear_all() == 3
    assert redis.keys("*:[0-9]") == [b"book:4"]
    assert value("book:4") == b"w:x"


def test_what_is_no_state_at_all_goes_too():
    """Readers bypass such a key for ever; a clear is the way out."""
    transport.client().mset({"note:1": b"", "note:2": b"garbage"})
    assert clear_all() == 2


def test_keys_of_others_stay():
    redis = transport.client()
    redis.mset({"notebook:1": b"{}", "session:note:1": b"{}", "note": b"{}", b"note:\xff": b"{}"})
    redis.hset("note:hash", "a", "b")
    redis.rpush("book:list", "a")
    assert clear_all() == 0
    assert redis.dbsize() == 7
    assert gate.mode is Mode.CLOSED, "somebody else's hash is no outage"


def test_a_hash_named_to_be_cleared_stays():
    transport.client().hset(f"note:{ID}", "a", "b")
    assert clear.clear_keys([f"note:{ID}"]) == 0
    assert gate.mode is Mode.CLOSED


def test_many_keys_go_in_batches(round_trips):
    transport.client().mset({f"note:{number}": b"{}" for number in range(2 * PIPELINE + 1)})
    batches = list(clear.clear_all())
    assert sum(batches) == 2 * PIPELINE + 1
    assert max(map(len, round_trips)) <= PIPELINE
    assert max(batches) <= PIPELINE
    assert transport.client().keys() == [b"cachelayer:incarnation"]


def test_named_keys_go_and_are_counted(value):
    redis = transport.client()
    redis.mset({f"note:{ID}": b"{}", "book:1": b"{}", "book:2": b"w:x", "book:3": b"{}"})
    assert clear.clear_keys([f"note:{ID}", "book:1", "book:2", "book:9"]) == 2
    assert value("book:2") == b"w:x"
    assert value("book:3") == b"{}"


@pytest.mark.parametrize(
    "key", ["session:1", "note", "note:", "note:7", "book:x", f"note:{ID.upper()}", "", ":"]
)
def test_a_key_of_no_cached_model_is_refused_with_a_sentence(key, value):
    transport.client().set("book:1", b"{}")
    with pytest.raises(ValueError, match=r"^'.*\.$"):
        clear.clear_keys(["book:1", key])
    assert value("book:1") == b"{}", "nothing is deleted by halves"


def test_without_redis_it_says_so(monkeypatch):
    def away(*args):
        raise transport.RedisError("away")

    monkeypatch.setattr(transport, "_send", away)
    with pytest.raises(CacheUnavailable):
        clear_all()


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_loads_while_the_clear_runs_fills_nothing(value):
    note = Note.objects.create()
    empty_redis()
    with stopped(key_states, "fill") as fill:
        reader = start(cachelayer.read, Note, note.pk)
        fill.reached()
        assert clear_all() == 1, "its lease"
        fill.release()
        assert reader.result().row is not None
    assert value(f"note:{note.pk}") is None


@pytest.mark.django_db(transaction=True)
def test_rows_are_read_again_after_a_clear():
    note = Note.objects.create()
    clear_all()
    assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert cachelayer.read(Note, note.pk).outcome == "hit"
