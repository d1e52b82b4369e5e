"""A variant that nobody uses costs every write a key, so it is taken away."""

import pytest

from cachelayer import clear, epoch, incarnation, link, retire, shapes, states
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
    assert retire.retire(f"note~{B}")
    assert link.client().hgetall(shapes.KEY) == {}
    assert link.client().get(keys(both)[1]) is None
    assert read()[0] == "hit"
    with release_b():
        assert [read()[0] for _ in range(2)] == ["miss", "hit"]


def test_while_it_closes_writers_go_on_marking_it(both):
    """Were the entry deleted first, this hit would be older than the write."""
    link.client().hset(shapes.KEY, f"note~{B}", "closing 1")
    Note.objects.update(stars=2)
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})


def test_while_it_closes_nothing_is_pushed_into_it(both):
    link.client().hset(shapes.KEY, f"note~{B}", "closing 1")
    with release_b():
        Note.objects.update(stars=2)
    assert link.client().get(keys(both)[1]) is None


def test_where_it_comes_into_use_again_it_stays(both, monkeypatch):
    def come_back(variant):
        with release_b():
            link.client().delete(keys(both)[1])
            assert read()[0] == "miss"
        yield keys(both)[1]

    monkeypatch.setattr(clear, "variant_keys", come_back)
    assert not retire.retire(f"note~{B}")
    with release_b():
        assert read()[0] == "hit"


def test_not_on_another_server(both):
    link.client().set(incarnation.KEY, f"another:0 trusted {epoch.known()}")
    assert not retire.retire(f"note~{B}")
    assert link.client().get(keys(both)[1]) is not None


def test_a_late_push_finds_that_others_came_in_between(both):
    """1. W1, of B, marks and pauses. 2. B is taken away. 3. W2 marks the plain key only.
    4. B is entered again. 5. W2 commits and is killed. 6. W1 pushes its older row."""
    plain, theirs = keys(both)
    first, second = states.new_mark(1), states.new_mark(2)
    states.mark([plain], first)
    retire.retire(f"note~{B}")
    states.mark([plain], second)
    link.client().hset(shapes.KEY, f"note~{B}", "live")
    with release_b():
        states.push({plain: b'{"stars":1,"release":"B"}'}, first)
    assert states.is_mark(link.client().get(plain))
    assert link.client().get(theirs) is None


def test_what_is_used_is_said_to_be_and_what_is_not_goes(both, monkeypatch, settings):
    unused = f"note~{'c' * 12}"
    monkeypatch.setattr(retire, "_next_word", 0.0)
    link.client().hset(shapes.KEY, unused, "live")
    link.client().hset("cachelayer:variants:seen", f"note~{B}", 1)
    link.client().hset("cachelayer:variants:seen", unused, 1)
    with release_b():
        retire.look()
    assert link.client().hgetall(shapes.KEY) == {f"note~{B}".encode(): b"live"}


def test_one_that_has_said_nothing_yet_is_new(both, monkeypatch):
    monkeypatch.setattr(retire, "_next_word", 0.0)
    retire.look()
    assert link.client().hexists(shapes.KEY, f"note~{B}")


def test_what_is_gone_has_been_used_by_nobody(both):
    """Entered again, it would be taken for one whose users have long been silent."""
    link.client().hset("cachelayer:variants:seen", f"note~{B}", 1)
    assert retire.retire(f"note~{B}")
    assert not link.client().hexists("cachelayer:variants:seen", f"note~{B}")
