"""Redis from an event loop: together, in order, in time, and only from a server that is trusted."""

import asyncio
import threading

import pytest

import cachelayer
from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_values, partition, reads
from cachelayer.redis import loop_transport, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.redis.loop_transport import NotConnected
from cachelayer.tests.bookshop.models import Note, Novel, Writer
from cachelayer.tests.loop import running_loop
from cachelayer.tests.outages import closed
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def loop():
    with running_loop() as loop:
        loop.connect()
        yield loop


def fetch(loop, key):
    return loop.run(reads.afetch(key))[0]


async def together(*awaitables):
    return await asyncio.gather(*awaitables, return_exceptions=True)


def test_what_is_asked_in_one_turn_goes_out_together_and_comes_back_in_order(loop, monkeypatch):
    notes = [Note.objects.create(stars=stars) for stars in range(50)]
    sends = []
    line = loop.line()
    send = line._send
    monkeypatch.setattr(line, "_send", lambda: sends.append(1) or send())
    keys = [f"note:{note.pk}" for note in notes]
    found = loop.run(together(*map(reads.afetch, [*keys, "note:0"])))
    assert [value for value, _ in found] == [*map(cachelayer.render, notes), None]
    assert len(sends) == 1


def test_large_values_come_whole(loop):
    values = {f"note:{number}": b"%d," % number * 400_000 for number in range(5)}
    transport.client().mset(values)
    found = loop.run(together(*map(reads.afetch, values)))
    assert [value for value, _ in found] == [*values.values()]


def test_a_document_is_valid_or_not_as_for_a_thread(loop):
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer)
    key = f"novel:{novel.pk}"
    assert cachelayer.read(Novel, novel.pk).outcome == "miss"
    assert fetch(loop, key) == cachelayer.render(novel)
    Writer.objects.update(name="Bob")
    assert key_values.is_invalid(fetch(loop, key))


def test_a_server_that_has_forgotten_the_scripts_is_sent_their_text(loop):
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer)
    cachelayer.read(Novel, novel.pk)
    transport.client().script_flush()
    assert fetch(loop, f"novel:{novel.pk}") == cachelayer.render(novel)
    assert closed()


def test_a_value_that_is_no_string_is_nobodys_and_redis_is_well(loop):
    transport.client().lpush("note:5", "x")
    with pytest.raises(CacheUnavailable, match="WRONGTYPE"):
        fetch(loop, "note:5")
    assert closed()


def test_each_round_trip_is_announced(loop, monkeypatch):
    heard = []
    monkeypatch.setattr(events.round_trip_ended, "_listeners", (lambda *said: heard.append(said),))
    fetch(loop, "note:5")
    [(name, seconds)] = heard
    assert (name, 0 < seconds < 30) == ("GET", True)


@pytest.mark.parametrize("change", [gate.settle, lambda why: gate.open(OSError(why))])
def test_nobody_is_asked_while_the_gate_is_not_closed(loop, change, monkeypatch):
    monkeypatch.setattr(gate, "reconcile", lambda gate: None)
    monkeypatch.setattr(loop_transport.Line, "ask", lambda *args: pytest.fail("Redis was asked"))
    change("A test says so.")
    with pytest.raises(CacheUnavailable):
        fetch(loop, "note:5")


def test_an_answer_is_not_believed_if_the_gate_has_settled_meanwhile(loop, monkeypatch):
    monkeypatch.setattr(gate, "reconcile", lambda gate: None)
    line = loop.line()
    give_out = line._give_out

    def settle_first():
        gate.settle("A test says so.")
        give_out()

    monkeypatch.setattr(line, "_give_out", settle_first)
    with pytest.raises(CacheUnavailable, match="settling"):
        fetch(loop, "note:5")


def test_after_a_reconcile_the_next_connection_is_verified_anew(loop):
    """Else a line to an old primary would serve what nobody marks there any more."""
    before = loop.line()._connection
    transport.forget_connections()
    with pytest.raises(NotConnected):
        fetch(loop, "note:5")
    loop.connect()
    assert loop.line()._connection is not before


def test_an_answer_that_was_asked_for_before_a_reconcile_is_not_given(loop, own_redis):
    loop.connect()
    own_redis.pause()
    asked = asyncio.run_coroutine_threadsafe(reads.afetch("note:5"), loop.loop)
    loop.run(together(asyncio.sleep(0)))
    transport.forget_connections()
    with pytest.raises(CacheUnavailable):
        fetch(loop, "note:6")
    own_redis.resume()
    with pytest.raises(CacheUnavailable):
        asked.result(30)


def test_a_missed_answer_settles_the_gate_and_fails_all_that_wait(loop, own_redis):
    loop.connect()
    own_redis.pause()
    found = loop.run(together(*map(reads.afetch, ["note:1", "note:2", "note:3"])))
    assert {type(each) for each in found} == {CacheUnavailable}
    assert gate.mode is not Mode.CLOSED
    own_redis.resume()
    until(closed)
    loop.connect()
    assert fetch(loop, "note:5") is None


def test_a_redis_that_restarts_is_not_read_before_it_is_reconciled(loop, own_redis):
    note = Note.objects.create(stars=1)
    loop.connect()
    assert fetch(loop, f"note:{note.pk}") == cachelayer.render(note)
    own_redis.kill()
    own_redis.start()
    with pytest.raises(CacheUnavailable):
        fetch(loop, f"note:{note.pk}")
    until(lambda: gate.mode is not Mode.CLOSED)
    until(closed)
    loop.connect()
    assert fetch(loop, f"note:{note.pk}") in (None, cachelayer.render(note))


def test_a_loop_that_was_held_up_takes_the_answers_that_have_come(loop, own_redis):
    """libuv runs timers before it looks at sockets, so there the time-out would come first."""
    loop.connect()

    async def held_up():
        asked = asyncio.ensure_future(reads.afetch("note:5"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threading.Event().wait(1.0)  # The loop does nothing, for longer than the time-out.
        loop_transport._line()._look_at_the_clock()
        return await asked

    assert loop.run(held_up())[0] is None
    assert closed()


def test_strict_hits_are_of_the_trusted_epoch_only(loop, settings):
    note = Note.objects.create(stars=1)
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict"}
    partition.trust.start_afresh()
    with pytest.raises(CacheUnavailable, match="without marks"):
        fetch(loop, f"note:{note.pk}")
    partition.trust.ask()
    assert fetch(loop, f"note:{note.pk}") == cachelayer.render(note)
    partition.trust._epoch = "another"
    with pytest.raises(CacheUnavailable, match="without marks"):
        fetch(loop, f"note:{note.pk}")


def test_by_each_way_to_redis(guarded):
    note = Note.objects.create(stars=1)
    with running_loop() as loop:
        loop.connect()
        assert fetch(loop, f"note:{note.pk}") == cachelayer.render(note)
        values = {f"note:{number}": b"%d," % number * 400_000 for number in range(5)}
        transport.client().mset(values)
        found = loop.run(together(*map(reads.afetch, values)))
        assert [value for value, _ in found] == [*values.values()]
