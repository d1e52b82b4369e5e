"""A variant that nobody uses costs every write a key, so it is taken away."""

import pytest

from cachelayer.protocol import key_states, key_values, retire_variants, scan
from cachelayer.redis import epoch, incarnation, transport, variants
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.releases import B, keys, read, release_b

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def both():
    """A row that both releases have cached."""
    note = Note.objects.create(stars=1)
    with release_b():
        assert [read()[0] for _ in range(2)] == ["miss", "hit"]
    return note


def test_its_entry_and_its_rows_go(both):
    assert retire_variants.retire(f"note~{B}")
    assert transport.client().hgetall(variants.KEY) == {}
    assert transport.client().get(keys(both)[1]) is None
    assert read()[0] == "hit"
    with release_b():
        assert [read()[0] for _ in range(2)] == ["miss", "hit"]


def test_while_it_closes_writers_go_on_marking_it(both):
    """Were the entry deleted first, this hit would be older than the write."""
    transport.client().hset(variants.KEY, f"note~{B}", "closing 1")
    Note.objects.update(stars=2)
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})


def test_while_it_closes_nothing_is_pushed_into_it(both):
    transport.client().hset(variants.KEY, f"note~{B}", "closing 1")
    with release_b():
        Note.objects.update(stars=2)
    assert transport.client().get(keys(both)[1]) is None


def test_where_it_comes_into_use_again_it_stays(both, monkeypatch):
    def come_back(variant):
        with release_b():
            transport.client().delete(keys(both)[1])
            assert read()[0] == "miss"
        yield keys(both)[1]

    monkeypatch.setattr(scan, "variant_keys", come_back)
    assert not retire_variants.retire(f"note~{B}")
    with release_b():
        assert read()[0] == "hit"


def test_not_on_another_server(both):
    transport.client().set(incarnation.KEY, f"another:0 trusted {epoch.known()}")
    assert not retire_variants.retire(f"note~{B}")
    assert transport.client().get(keys(both)[1]) is not None


def test_a_late_push_finds_that_others_came_in_between(both):
    """1. W1, of B, marks and pauses. 2. B is taken away. 3. W2 marks the plain key only.
    4. B is entered again. 5. W2 commits and is killed. 6. W1 pushes its older row."""
    plain, theirs = keys(both)
    first, second = key_values.new_mark(1), key_values.new_mark(2)
    key_states.mark([plain], first)
    retire_variants.retire(f"note~{B}")
    key_states.mark([plain], second)
    transport.client().hset(variants.KEY, f"note~{B}", "live")
    with release_b():
        key_states.push({plain: b'{"stars":1,"release":"B"}'}, first)
    assert key_values.is_mark(transport.client().get(plain))
    assert transport.client().get(theirs) is None


def test_what_is_used_is_said_to_be_and_what_is_not_goes(both, monkeypatch, settings):
    unused = f"note~{'c' * 12}"
    monkeypatch.setattr(retire_variants, "_next_word", 0.0)
    transport.client().hset(variants.KEY, unused, "live")
    transport.client().hset("cachelayer:variants:seen", f"note~{B}", 1)
    transport.client().hset("cachelayer:variants:seen", unused, 1)
    with release_b():
        retire_variants.retire_unused()
    assert transport.client().hgetall(variants.KEY) == {f"note~{B}".encode(): b"live"}


def test_one_that_has_said_nothing_yet_is_new(both, monkeypatch):
    monkeypatch.setattr(retire_variants, "_next_word", 0.0)
    retire_variants.retire_unused()
    assert transport.client().hexists(variants.KEY, f"note~{B}")


def test_what_is_gone_has_been_used_by_nobody(both):
    """Entered again, it would be taken for one whose users have long been silent."""
    transport.client().hset("cachelayer:variants:seen", f"note~{B}", 1)
    assert retire_variants.retire(f"note~{B}")
    assert not transport.client().hexists("cachelayer:variants:seen", f"note~{B}")
