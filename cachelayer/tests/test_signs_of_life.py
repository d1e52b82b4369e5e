"""A reconcile that takes long is not taken over, and one lost answer does not begin it anew."""

import pytest

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_states, reconcile, scan, signs_of_life
from cachelayer.redis import epoch, incarnation, transport
from cachelayer.redis.incarnation import Incarnation
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import stopped
from cachelayer.tests.outages import closed
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

#: Probe intervals that no test lives through.
NEVER = 10**6


def flush_and_notice():
    """Redis has lost everything but three rows that it should not have."""
    transport.client().flushall()
    transport.client().mset({f"note:{number}": "{}" for number in range(3)})
    cachelayer.read(Note, 1)


def sign():
    with transport.fresh_connection() as fresh:
        return signs_of_life.last(fresh)


class Losing:
    """The first *count* calls of a step get no answer."""

    def __init__(self, step, count):
        self._step, self._count = step, count

    def __call__(self, *args, **kwargs):
        if self._count:
            self._count -= 1
            raise CacheUnavailable("No answer came.")
        return self._step(*args, **kwargs)


def test_who_gives_signs_is_not_taken_for_dead(monkeypatch):
    monkeypatch.setattr(signs_of_life, "ABANDONED", 0)
    watch = signs_of_life.Watch()
    found = Incarnation("a:b", "a:b", "settling", epoch.known())
    assert not watch.is_abandoned(found, None)
    assert not watch.is_abandoned(found, b"settling 7 1")
    assert not watch.is_abandoned(found, b"settling 7 2")
    assert watch.is_abandoned(found, b"settling 7 2")
    assert not watch.is_abandoned(found, b"settling 7 3")


def test_a_sweep_gives_signs(own_redis):
    with stopped(key_states, "repair") as repair:
        flush_and_notice()
        repair.reached()
        assert sign().startswith(b"settling ")
        repair.release()
        until(closed)


@pytest.mark.parametrize(("owner", "step"), [(scan, "_scan"), (key_states, "repair")])
def test_a_lost_answer_is_asked_for_again(own_redis, monkeypatch, owner, step):
    before = int(epoch.known())
    monkeypatch.setattr(owner, step, Losing(getattr(owner, step), 2))
    flush_and_notice()
    until(closed)
    assert int(epoch.known()) == before + 1
    assert not transport.client().exists("note:0", "note:1", "note:2")


def test_who_could_not_finish_begins_again_at_once(own_redis, monkeypatch):
    """It knows that nobody else is at it."""
    monkeypatch.setattr(signs_of_life, "ABANDONED", NEVER)
    monkeypatch.setattr(reconcile, "_sweep", Losing(reconcile._sweep, 2))
    flush_and_notice()
    until(closed)
    with transport.fresh_connection() as fresh:
        assert incarnation.fetch(fresh).is_trusted
    assert not transport.client().exists("note:0", "note:1", "note:2")
