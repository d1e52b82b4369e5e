"""Counts of reads: exact over processes, threads, forks and outages, and free for a read."""

import os
import subprocess
import sys
import threading

import pytest
from django.conf import settings as django_settings
from django.db.backends.signals import connection_created

import cachelayer
from cachelayer.redis import epoch, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.polling import until

DEADLINE = 20
NEVER = {"COUNT_INTERVAL": 3600.0, "PROBE_INTERVAL": 0.02, "SETTLING_TIME": 0.05}


@pytest.fixture
def counts(settings, monkeypatch):
    """A process's counts, that nobody flushes but the test."""
    settings.CACHELAYER = NEVER
    monkeypatch.setattr(counters, "_counts", counters.Counts())
    return counters._counts


def totals():
    """The totals of the reads."""
    found = counters.totals()
    return {name: found[name] for name in ("hit", "miss", "bypass")}


def totals_in_redis():
    """The totals, without a flush of this process's own."""
    return {k.decode(): int(v) for k, v in transport.client().hgetall(counters.KEY).items()}


def python(program, **options):
    """A real process of the same project."""
    prelude = (
        "import django; django.setup()\n"
        "from django.conf import settings\n"
        "from cachelayer import conf\n"
        "from cachelayer.telemetry import counters\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": django_settings.SETTINGS_MODULE}
    return subprocess.Popen([sys.executable, "-c", prelude + program], env=environment, **options)


def test_counts_of_several_processes_add_up_when_they_exit():
    program = "for _ in range(100): counters.add('hit'); counters.add('miss', 2)"
    processes = [python(program) for _ in range(3)]
    for _ in range(50):
        counters.add("hit")
    assert [process.wait(DEADLINE) for process in processes] == [0, 0, 0]
    assert totals() == {"hit": 350, "miss": 600, "bypass": 0}


def test_counts_of_a_process_that_goes_on_arrive_too():
    process = python("counters.add('hit', 7); input()", stdin=subprocess.PIPE)
    try:
        until(lambda: totals_in_redis() == {"hit": 7})
        assert process.poll() is None
    finally:
        process.communicate(b"\n", timeout=DEADLINE)


def test_a_fork_does_not_flush_the_counts_of_its_parent_again():
    process = python(
        f"settings.CACHELAYER = {NEVER}\n"
        "conf.get.cache_clear()\n"
        "import os, sys\n"
        "counters.add('hit', 5)\n"
        "child = os.fork()\n"
        "if child == 0: counters.add('miss', 1); sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
        "counters.add('hit', 2)\n"
    )
    assert process.wait(DEADLINE) == 0
    assert totals_in_redis() == {"hit": 7, "miss": 1}


def test_counts_of_threads_that_read_while_others_flush_add_up(counts):
    started = threading.Barrier(9)

    def read():
        started.wait()
        for _ in range(1000):
            counts.add("hit")

    def flush():
        started.wait()
        for _ in range(100):
            counts.flush()

    threads = [threading.Thread(target=read) for _ in range(6)]
    threads += [threading.Thread(target=flush) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals() == {"hit": 6000, "miss": 0, "bypass": 0}


@pytest.mark.django_db(transaction=True)
def test_a_read_costs_no_round_trip_for_its_count(counts, round_trips):
    note = Note.objects.create()
    round_trips.clear()
    for _ in range(10):
        assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert round_trips == [["GET"]] * 10
    assert counters.totals()["hit"] == 10


@pytest.mark.django_db(transaction=True)
def test_each_read_counts_once_as_what_it_was(counts, monkeypatch):
    cached, cold = Note.objects.create(), Note.objects.create()
    transport.client().delete(f"note:{cold.pk}")
    assert cachelayer.read(Note, cached.pk).outcome == "hit"
    assert totals() == {"hit": 1, "miss": 0, "bypass": 0}
    assert cachelayer.read(Note, cold.pk).outcome == "miss"
    assert totals() == {"hit": 1, "miss": 1, "bypass": 0}
    transport.client().set(f"note:{cold.pk}", b"w:somebody")
    assert cachelayer.read(Note, cold.pk).outcome == "bypass"
    assert totals() == {"hit": 1, "miss": 1, "bypass": 1}


@pytest.mark.django_db(transaction=True)
def test_read_many_counts_each_row_once(counts):
    notes = [Note.objects.create() for _ in range(6)]
    keys = [f"note:{note.pk}" for note in notes]
    transport.client().delete(keys[0], keys[1])
    transport.client().set(keys[2], b"w:somebody")
    cachelayer.read_many(Note, [note.pk for note in notes])
    assert totals() == {"hit": 3, "miss": 2, "bypass": 1}


@pytest.fixture
def server(own_redis, settings):
    """A Redis of the test's own, to be stopped and started."""
    settings.CACHELAYER = NEVER
    return own_redis


def closed():
    return gate.mode is Mode.CLOSED


@pytest.mark.django_db(transaction=True)
def test_counts_wait_for_a_redis_that_is_away(server, monkeypatch):
    counts = counters.Counts()
    monkeypatch.setattr(counters, "_counts", counts)
    server.stop()
    counts.add("hit", 3)
    counts.flush()
    counts.add("hit", 4)
    counts.flush()
    server.start()
    until(closed)
    assert totals() == {"hit": 7, "miss": 0, "bypass": 0}


@pytest.mark.django_db(transaction=True)
def test_counts_that_a_paused_redis_received_are_not_added_twice(server, monkeypatch):
    counts = counters.Counts()
    monkeypatch.setattr(counters, "_counts", counts)
    counts.add("hit", 1)
    counts.flush()
    server.pause()
    counts.add("hit", 3)
    counts.flush()  # Sent, not answered: Redis carries it out when it goes on.
    counts.add("hit", 4)
    server.resume()
    until(closed)
    assert totals() == {"hit": 8, "miss": 0, "bypass": 0}


@pytest.mark.django_db(transaction=True)
def test_the_flusher_sends_the_counts_of_an_outage_by_itself(server, settings):
    settings.CACHELAYER = {**NEVER, "COUNT_INTERVAL": 0.01}
    counts = counters.Counts()
    server.stop()
    counts.add("hit", 3)
    until(lambda: counts._sent)
    server.start()
    until(lambda: totals_in_redis() == {"hit": 3})


def test_the_flusher_survives_an_error_that_nobody_expected(settings, monkeypatch, caplog):
    settings.CACHELAYER = {"COUNT_INTERVAL": 0.01}
    failed = threading.Event()
    round_trip = transport.round_trip

    def fail_once(*commands):
        if not failed.is_set():
            failed.set()
            raise ValueError("nobody expected this")
        return round_trip(*commands)

    monkeypatch.setattr(transport, "round_trip", fail_once)
    counters.Counts().add("hit", 3)
    until(lambda: totals_in_redis() == {"hit": 3})
    assert failed.is_set()
    assert "kept for the next time" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_flusher_keeps_no_connection_to_postgres(settings):
    """Each process would hold one more, and no test database could be dropped."""
    settings.CACHELAYER = {"COUNT_INTERVAL": 0.01}
    opened = []

    def note(connection, **kwargs):
        if threading.current_thread().name == "cachelayer-counters":
            opened.append(connection.connection)

    connection_created.connect(note)
    # As in a new process, whose first connection to Redis is compared with what Postgres says.
    transport.forget_connections()
    epoch.forget()
    counters.Counts().add("hit")
    until(lambda: opened and all(raw.closed for raw in opened), seconds=20)


def test_a_read_while_the_interpreter_goes_down_is_counted(counts, monkeypatch):
    def no_more_threads(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as shutdown:
        shutdown.setattr(threading.Thread, "start", no_more_threads)
        counts.add("hit")
    counts.flush()
    assert totals_in_redis() == {"hit": 1}
