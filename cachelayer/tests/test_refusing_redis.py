"""A Redis that answers and takes no writes: full, without its replicas, or not for this user."""

import logging
import threading

import pytest
import redis

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.operations import overview, warm
from cachelayer.protocol import key_states, key_values, reconcile
from cachelayer.redis import eviction, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import until
from cachelayer.throttled_log import MOST, ThrottledLog

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def note(own_redis):
    return Note.objects.create(stars=1)


@pytest.fixture
def looks(monkeypatch):
    """Counts the looks of the reconcile; ``more(n)`` waits until there were *n* more."""
    attempts = []
    attempt = reconcile._attempt

    def counted(*args):
        try:
            return attempt(*args)
        finally:
            attempts.append(gate.mode)

    monkeypatch.setattr(reconcile, "_attempt", counted)

    def more(count):
        wanted = len(attempts) + count
        until(lambda: len(attempts) >= wanted)

    return more


@pytest.fixture
def full(own_redis):
    """It has a limit that it is beyond, and may evict nothing."""
    with redis.Redis(port=own_redis.port) as admin:
        admin.config_set("maxmemory-policy", "noeviction")

        def fill():
            admin.config_set("maxmemory", 1_000)

        yield fill
        admin.config_set("maxmemory", 0)


def lines(caplog, level=logging.WARNING):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("cachelayer") and record.levelno >= level
    ]


def test_a_full_redis_is_said_once_and_the_gate_stays_open(note, full, looks, caplog):
    with caplog.at_level(logging.WARNING, "cachelayer"):
        full()
        for count in range(2, 32):
            set_stars(note, count)
            assert stars(note) == count
            looks(2)
            assert gate.mode is Mode.OPEN
    assert [line[:12] for line in lines(caplog)] == ["Gate open. R"]
    assert "Redis is full" in gate.state.reason
    assert "maxmemory" in gate.state.reason
    [sentence] = [
        each.sentence for each in overview.collect().troubles if "bypasses Redis" in each.sentence
    ]
    assert eviction.FULL in sentence
    assert "nothing is lost" in sentence
    assert gate.state.changes == 2, "settling, open"
    assert Repair.objects.exists()


def test_a_read_that_may_not_lease_finds_out_as_well(note, full, looks, caplog):
    transport.client().delete(f"note:{note.pk}")
    with caplog.at_level(logging.WARNING, "cachelayer"):
        full()
        assert cachelayer.read(Note, note.pk).outcome in ("miss", "bypass")
        until(lambda: gate.mode is Mode.OPEN)
        looks(3)
        assert gate.mode is Mode.OPEN
    assert len(lines(caplog)) == 1
    assert "Redis is full" in gate.state.reason


def test_a_redis_that_is_full_between_lease_and_fill_ends_a_warm_and_holds_nothing_new(
    note, full, value, own_redis
):
    other = Note.objects.create()
    keys = [f"note:{each.pk}" for each in (note, other)]
    transport.client().delete(*keys)
    with stopped(key_states, "fill") as fill:
        warming = start(list, warm.warm(Note))
        fill.reached()
        full()
        fill.release()
        with pytest.raises(CacheUnavailable):
            warming.result()
    assert not {key_values.name(value(key)) for key in keys} & {"row", "null"}
    with redis.Redis(port=own_redis.port) as admin:
        admin.config_set("maxmemory", 0)
    until(closed)
    assert cachelayer.read(Note, other.pk).row == cachelayer.render(other)


def test_room_is_noticed_and_what_was_written_meanwhile_is_repaired(note, full, looks, own_redis):
    full()
    set_stars(note, 2)
    assert gate.mode is Mode.OPEN
    with redis.Redis(port=own_redis.port) as admin:
        assert admin.get(f"note:{note.pk}"), "the old row is still there"
        admin.config_set("maxmemory", 0)
    until(closed)
    assert not Repair.objects.exists()
    assert [stars(note), cachelayer.read(Note, note.pk).outcome] == [2, "hit"]


def test_a_redis_that_starts_full_says_so_in_place_of_what_it_said_before(own_redis, note):
    own_redis.stop()
    set_stars(note, 2)
    assert "refused" in gate.state.reason
    with pytest.MonkeyPatch.context() as patch:
        full = ["--maxmemory", "1000", "--maxmemory-policy", "noeviction"]
        patch.setattr(own_redis, "_options", [*own_redis._options, *full])
        own_redis.start()
    until(lambda: "Redis is full" in gate.state.reason)
    assert gate.mode is Mode.OPEN
    with redis.Redis(port=own_redis.port) as admin:
        admin.config_set("maxmemory", 0)
    until(closed)
    assert stars(note) == 2


def test_a_writer_that_looks_late_does_not_mark_on_a_full_redis(note, full, looks):
    full()
    set_stars(note, 2)
    gate.probed_at -= 100
    reconcile.probe_if_late(gate)
    assert gate.mode is Mode.OPEN
    assert gate.state.changes == 2


@pytest.mark.parametrize(
    ("refuse", "allow", "reason"),
    [
        (["config", "set", "min-replicas-to-write", "1"],
         ["config", "set", "min-replicas-to-write", "0"], "replicas"),
        (["acl", "setuser", "default", "-evalsha"],
         ["acl", "setuser", "default", "+evalsha"], "check --database"),
        (["acl", "setuser", "default", "-set"],
         ["acl", "setuser", "default", "+set"], ""),
        (["acl", "setuser", "default", "-info"],
         ["acl", "setuser", "default", "+info"], "check --database"),
    ],
    ids=["replicas", "evalsha", "set", "info"],
)  # fmt: skip
def test_any_other_refusal_is_said_once_too(own_redis, note, looks, caplog, refuse, allow, reason):
    with (
        redis.Redis(port=own_redis.port) as admin,
        caplog.at_level(logging.WARNING, "cachelayer"),
    ):
        admin.execute_command(*refuse)
        transport.forget_connections()
        try:
            for count in range(2, 12):
                set_stars(note, count)
                assert stars(note) == count
                looks(2)
            assert gate.mode is Mode.OPEN
            assert reason in gate.state.reason
            assert len(lines(caplog)) <= 2, lines(caplog)
        finally:
            admin.execute_command(*allow)
    until(closed)
    assert stars(note) == 11


def test_a_gate_that_flaps_does_not_flood_the_log(own_redis, note, caplog):
    """Redis is well whenever it is looked at, and refuses every mark."""
    with caplog.at_level(logging.WARNING, "cachelayer"), pytest.MonkeyPatch.context() as patch:

        def refuse(*args):
            raise key_states.CacheUnavailable("not now")

        patch.setattr(key_states, "mark", refuse)
        for count in range(2, 22):
            set_stars(note, count)
            until(closed)
    assert gate.state.changes >= 40
    assert len(lines(caplog)) <= MOST
    caplog.clear()
    gate._log.sum_up()
    [summary] = lines(caplog)
    assert "more lines" in summary
    assert "Gate closed" in summary


def test_what_was_left_out_is_summed_up_by_itself(caplog, monkeypatch):
    monkeypatch.setattr("cachelayer.throttled_log.WINDOW", 0.05)
    log = logging.getLogger("cachelayer.test")
    quiet = ThrottledLog(log)
    with caplog.at_level(logging.WARNING, "cachelayer"):
        for number in range(MOST + 7):
            quiet.say(logging.WARNING, f"line {number}")
        until(lambda: len(caplog.records) > MOST)
        *first, summary = lines(caplog)
        assert first == [f"line {number}" for number in range(MOST)]
        assert summary.startswith("7 more lines")
        assert summary.endswith(f"line {MOST + 6}")
        quiet.say(logging.WARNING, "the window after it has no others")
        quiet.sum_up()
        quiet._began -= 60  # A minute in which nothing was said.
        caplog.clear()
        quiet.say(logging.WARNING, "again")
        assert lines(caplog) == ["again"]


def test_at_level_debug_every_line_is_there(caplog):
    log = logging.getLogger("cachelayer.test")
    quiet = ThrottledLog(log)
    with caplog.at_level(logging.DEBUG, "cachelayer"):
        for number in range(3 * MOST):
            quiet.say(logging.WARNING, f"line {number}")
    assert lines(caplog, logging.DEBUG) == [f"line {number}" for number in range(3 * MOST)]


def test_a_reconcile_that_fails_again_and_again_does_not_flood_the_log(note, caplog, monkeypatch):
    tries, enough = [], threading.Event()

    def fail(*args):
        tries.append(1)
        if len(tries) > 10 * MOST:
            enough.set()
        raise RuntimeError("a bug")

    reconcile._log.start_afresh()
    with caplog.at_level(logging.WARNING, "cachelayer"), monkeypatch.context() as patch:
        patch.setattr(reconcile, "_attempt", fail)
        gate.settle("To see.")
        assert enough.wait(60)
    assert len([line for line in lines(caplog) if "The reconcile failed" in line]) <= MOST
    until(closed)
