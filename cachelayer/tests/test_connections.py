"""The cache layer by each way to Redis: with a password, as a user, by a unix socket, by TLS."""

import threading
from contextlib import contextmanager

import pytest
from django.db import connection

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.protocol import reconcile
from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import DEADLINE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("guarded")]


def test_a_write_is_marked_and_pushed_and_the_next_read_is_a_hit(round_trips, value):
    note = Note.objects.create(stars=1)
    # A server that does not know the scripts is sent each once.
    assert round_trips == [["EVALSHA"], ["EVAL"]] * 2
    round_trips.clear()
    set_stars(note, 2)
    assert round_trips == [["EVALSHA"]] * 2
    assert value(f"note:{note.pk}") == cachelayer.render(note)
    read = cachelayer.read(Note, note.pk)
    assert (read.outcome, read.row) == ("hit", cachelayer.render(note))
    assert closed()
    assert not Repair.objects.exists()


def test_a_wrapper_around_the_first_statement_of_a_connection_takes_its_own_away():
    """Django takes the last one: ours would be gone, and no write be followed from then on."""
    note = Note.objects.create(stars=1)
    seen = []

    def wrap_first():
        def see(execute, *args):
            seen.append(args[0])
            return execute(*args)

        with connection.execute_wrapper(see):
            assert Note.objects.count() == 1
        Note.objects.update(stars=2)
        connection.close()

    thread = threading.Thread(target=wrap_first)
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert not Repair.objects.exists(), "it is followed, and not logged"
    assert stars(note) == 2


def test_a_miss_takes_the_lease_and_fills(value):
    note = Note.objects.create()
    key = f"note:{note.pk}"
    transport.client().delete(key)
    assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert value(key) == cachelayer.render(note)
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_many_values_come_whole_and_in_order_also_large_ones():
    """An answer of several parts, and with TLS of several hundred records."""
    values = {f"note:{number}": b"%d," % number * size for number, size in enumerate(_SIZES)}
    transport.client().mset(values)
    assert transport.get([*values, "note:absent"]) == [*values.values(), None]
    assert [transport.get([key]) for key in values] == [[value] for value in values.values()]


_SIZES = [1, 70_000, 0, 1_500_000, *[100] * 500]


@contextmanager
def configured(**options):
    """New connections are made with *options*, redis-py's, in place of the right ones."""
    given = transport.client().connection_pool.connection_kwargs
    with pytest.MonkeyPatch.context() as patch:
        for name, option in options.items():
            patch.setitem(given, name, option)
        transport.forget_connections()
        yield


@pytest.fixture
def paused(guarded, quick):
    """It takes nothing and says nothing. Who waits for it without end is let go, and fails."""
    late = threading.Event()
    let_go = threading.Timer(30, lambda: (late.set(), guarded.resume()))
    with configured(socket_timeout=0.25):
        until(answers)
        guarded.pause()
        let_go.start()
        yield
        let_go.cancel()
        guarded.resume()
    assert not late.is_set(), "the cache layer has waited without end"
    until(closed)


def answers():
    try:
        return transport.get(["note:x"])
    except CacheUnavailable:
        return False  # This machine was busier than the timeout allows.


def test_an_answer_that_does_not_come_costs_a_timeout(paused):
    with pytest.raises(CacheUnavailable, match=r"(?i)timeout"):
        transport.get(["note:x"])
    assert not closed()


@pytest.mark.parametrize("guarded", ["password", "unix", "tls"], indirect=True)
def test_a_command_that_is_not_taken_costs_a_timeout(paused):
    """No buffer on the way holds it."""
    with pytest.raises(CacheUnavailable, match=r"(?i)timeout"):
        transport.round_trip(("SET", "note:x", b"x" * 20_000_000))
    assert not closed()


def test_a_restarted_redis_is_noticed_before_anything_is_read(guarded, quick, monkeypatch):
    note = Note.objects.create(stars=1)
    key = f"note:{note.pk}"
    assert transport.get([key]) != [None]
    transport.client().save()
    guarded.stop()
    may_settle, settle = threading.Event(), reconcile.settle

    def settle_late(*args):
        assert may_settle.wait(DEADLINE)
        settle(*args)

    monkeypatch.setattr(reconcile, "settle", settle_late)
    guarded.start()
    try:
        with pytest.raises(CacheUnavailable):
            transport.get([key])
        assert not closed()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    finally:
        may_settle.set()
    until(closed)
    assert transport.get([key]) == [None], "what it came back with was swept away"
    set_stars(note, 2)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 2


@pytest.mark.parametrize(
    ("guarded", "wrong", "reason"),
    [
        pytest.param("password", {"password": None}, "authenticated", id="no password"),
        pytest.param("password", {"password": "guess"}, "invalid username", id="another password"),
        pytest.param("user", {"username": "default"}, "invalid username", id="another user"),
        pytest.param("tls", {"ssl_ca_certs": None}, "certificate verify", id="unknown authority"),
        pytest.param("tls", {"host": "localhost"}, "certificate verify", id="another host"),
    ],
    indirect=["guarded"],
)
def test_who_is_not_let_in_or_finds_a_stranger_goes_on_without_redis(quick, wrong, reason):
    note = Note.objects.create(stars=1)
    with configured(**wrong):
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        set_stars(note, 2)
        assert stars(note) == 2
        assert Repair.objects.exists(), "nobody could mark"
        assert not closed()
        assert reason in gate.state.reason
    until(closed)
    assert stars(note) == 2
    assert not Repair.objects.exists()
