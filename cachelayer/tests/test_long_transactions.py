"""Transactions that take long, are left open, or lose their writer: what they keep from others."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.db import connection, transaction

import cachelayer
from cachelayer import conf
from cachelayer.protocol import drain, key_states, key_values
from cachelayer.redis import transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note, Tag
from cachelayer.tests.commands import environment_here
from cachelayer.tests.interleaving import start, stopped, wait_for_a_blocked_backend
from cachelayer.tests.outages import closed, until
from cachelayer.tests.truth import hit, logged, outside, told
from cachelayer.tracking import triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

LOCK = 4711


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@pytest.fixture
def slow_commit():
    """A COMMIT waits, in a deferred trigger, for as long as the test holds a lock."""
    with outside() as psql:
        psql.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE OR DELETE ON bookshop_note "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        psql.execute(f"SELECT pg_advisory_lock({LOCK})")
        try:
            yield lambda: psql.execute(f"SELECT pg_advisory_unlock({LOCK})")
        finally:
            psql.execute("SELECT pg_advisory_unlock_all()")
            psql.execute("DROP FUNCTION wait CASCADE")


@contextmanager
def another_process(script):
    process = subprocess.Popen(
        [sys.executable, "-c", f"import django; django.setup()\n{script}"],
        env=environment_here(),
        cwd=django_settings.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


UPDATE = """
from cachelayer.tests.bookshop.models import Note
Note.objects.update(stars=2)
print("written", flush=True)
"""


def holds_no_row(key):
    value = transport.client().get(key)
    return key_values.is_mark(value)


def test_a_commit_that_takes_long_keeps_its_mark_and_then_is_the_row(note, slow_commit):
    """No clock ends a mark: only its transaction's end does."""
    key = f"note:{note.pk}"
    writer = start(Note.objects.filter(pk=note.pk).update, stars=2)
    wait_for_a_blocked_backend()
    assert holds_no_row(key)
    assert transport.client().pttl(key) == -1, "the mark has no lifetime"
    for _ in range(3):
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        assert told(Note, note.pk)["stars"] == 1
    slow_commit()
    writer.result()
    assert told(Note, note.pk)["stars"] == 2
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_a_writer_that_is_killed_while_its_commit_takes_long(note, slow_commit):
    """Its COMMIT goes on in the server, and ends when nobody is left to push or to unmark."""
    key = f"note:{note.pk}"
    with another_process(UPDATE) as writer:
        wait_for_a_blocked_backend()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert holds_no_row(key)
        assert told(Note, note.pk)["stars"] == 1
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        slow_commit()
        until(lambda: Note.objects.get().stars == 2)
    assert told(Note, note.pk)["stars"] == 2
    assert cachelayer.read(Note, note.pk).outcome == "hit", "its mark was taken over"


def test_a_backend_that_is_ended_while_its_commit_takes_long(note, slow_commit):
    """The transaction is rolled back, the writer has no answer: nothing was written."""
    with another_process(UPDATE) as writer:
        wait_for_a_blocked_backend()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        assert writer.wait() != 0
    assert told(Note, note.pk)["stars"] == 1
    assert cachelayer.read(Note, note.pk).outcome == "hit", "its mark was taken over"


def test_a_deferred_trigger_that_writes_inside_the_commit(note):
    """Nobody marks what COMMIT itself writes: it is logged, in the same transaction."""
    with outside() as psql:
        psql.execute(
            "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE bookshop_note SET stars = 9; RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON bookshop_tag "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()"
        )
        try:
            with transaction.atomic():
                Tag.objects.create(name="t")
            assert logged() == {f"note:{note.pk}"}
        finally:
            psql.execute("DROP FUNCTION late CASCADE")
    drain.drain()
    assert told(Note, note.pk)["stars"] == 9


@contextmanager
def left_open(dbname, *statements):
    """A transaction with an xid that nobody ends, in the database *dbname*."""
    with outside(dbname=dbname) as psql, psql.transaction():
        psql.execute("SELECT pg_current_xact_id()")
        for statement in statements:
            psql.execute(statement)
        yield psql


def test_a_transaction_left_open_in_another_database_keeps_no_gate_open(note):
    """FLUSHALL beside it: the reconcile waits for nobody who can have written a cached row."""
    with left_open("postgres"):
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        assert not closed()
        until(closed, 10)
        assert told(Note, note.pk)["stars"] == 1
        assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_an_idle_transaction_that_has_written_something_else_keeps_no_gate_open(note):
    here = connection.settings_dict["NAME"]
    with left_open(here, "INSERT INTO bookshop_tag (name) VALUES ('t')",
                   "SELECT * FROM bookshop_note"):  # fmt: skip
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        until(closed, 10)
    assert told(Note, note.pk)["stars"] == 1


def test_a_transaction_that_has_written_a_cached_row_is_waited_for_and_named(note):
    here = connection.settings_dict["NAME"]
    with left_open(here, "UPDATE bookshop_note SET stars = 2") as psql:
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        until(lambda: "bookshop_note" in gate.state.reason)
        assert str(psql.info.backend_pid) in gate.state.reason
        assert gate.mode is Mode.SETTLING
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    until(closed)
    assert told(Note, note.pk)["stars"] == 2


def test_a_prepared_transaction_is_waited_for(note):
    """It holds its locks with no process at all, and has no end of its own."""
    with outside() as psql:
        [allowed] = psql.execute("SHOW max_prepared_transactions").fetchone()
    if allowed == "0":
        pytest.skip("this server allows no prepared transactions")
    with outside() as psql:
        psql.execute("BEGIN; UPDATE bookshop_note SET stars = 2; PREPARE TRANSACTION 'mine'")
        transport.client().flushall()
        cachelayer.read(Note, note.pk)
        until(lambda: "prepared" in gate.state.reason)
        psql.execute("COMMIT PREPARED 'mine'")
    until(closed)
    assert told(Note, note.pk)["stars"] == 2


def test_a_dead_readers_lease_costs_one_wait(note, monkeypatch):
    """Whoever has waited for it takes it over; the next reader hits at once."""
    key, waits = f"note:{note.pk}", []
    transport.client().delete(key)
    assert key_states.lease({key: None}, key_values.new_lease()) == [True]
    monkeypatch.setattr("cachelayer.protocol.reads.time.sleep", waits.append)
    clock = iter(range(1000))
    step = conf.get().LEASE_WAIT / 4
    monkeypatch.setattr("cachelayer.protocol.reads.time.monotonic", lambda: next(clock) * step)
    assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert 0 < len(waits) < 6
    waits.clear()
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert waits == []
    assert told(Note, note.pk)["stars"] == 1


def test_a_lease_that_was_taken_over_fills_nothing(note):
    """Its reader was only slow: it has loaded the row from before a write, and comes late."""
    transport.client().delete(f"note:{note.pk}")
    with stopped(key_states, "fill") as fill:
        slow = start(cachelayer.read, Note, note.pk)
        fill.reached()
        assert cachelayer.read(Note, note.pk).outcome == "miss", "taken over"
        Note.objects.filter(pk=note.pk).update(stars=2)
        fill.release()
        slow.result()
    assert told(Note, note.pk)["stars"] == 2
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_nothing_asks_for_a_time_limit_of_statements():
    """No statement_timeout and no idle limit: no check complains, and triggers are installed."""
    options = connection.settings_dict["OPTIONS"]
    asked = options.pop("options", None)
    connection.close()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
        found = [each for each in run_checks(databases=["default"]) if "timeout" in str(each.msg)]
        assert found == []
        triggers.install("default")
        assert triggers.problems(connection) == []
    finally:
        if asked is not None:
            options["options"] = asked
        connection.close()


@pytest.mark.usefixtures("past_pgbouncer")
def test_triggers_are_installed_under_a_limit_while_a_table_is_in_use(note):
    """Where nothing has changed, nothing is locked: migrate does not wait for a long reader."""
    with outside() as psql, psql.transaction():
        psql.execute("SELECT * FROM bookshop_note")
        psql.execute("UPDATE bookshop_note SET stars = 2")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        try:
            triggers.install("default")
        except psycopg.errors.LockNotAvailable:
            pytest.fail("it waits for a lock that it has no need of")
        finally:
            connection.close()
