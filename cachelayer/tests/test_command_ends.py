"""How the commands end: exit codes, Ctrl-C, a reader that has gone, a server that is away."""

import json
import signal
import subprocess
import sys
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, ManagementUtility
from django.db import OperationalError, connection, transaction

from cachelayer.operations import verify, warm
from cachelayer.protocol import key_values
from cachelayer.redis import transport
from cachelayer.tests.bookshop.models import Note, Stamp
from cachelayer.tests.commands import environment_here, run, run_in_a_pipe
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)

ID = "550e8400-e29b-41d4-a716-446655440001"


@pytest.fixture
def rows():
    """The keys of two cached rows; there is a mark as well."""
    note, stamp = Note.objects.create(text="before"), Stamp.objects.create(text="red")
    transport.client().set("book:0", b"w:mark")
    return f"note:{note.pk}", f"stamp:{stamp.pk}"


@pytest.fixture
def started():
    """A command as a process, to which signals are sent when it has said something."""
    processes = []

    def start(name, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "django", name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment_here(),
            cwd=django_settings.BASE_DIR,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def listeners(other_than=0):
    """The backends on which ``cache_repair`` waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND query = %s AND pid <> %s",
            [f"LISTEN {repair_log.CHANNEL}", other_than],
        )
        return [pid for (pid,) in cursor.fetchall()]


@pytest.mark.parametrize("name", ["cache_clear --yes", f"cache_clear note:{ID}", "cache_verify"])
def test_without_redis_a_command_ends_with_a_sentence(name, away):
    with pytest.raises(CommandError, match=r"Redis does not answer .*refused.* then try again\.$"):
        run(*name.split())


def test_without_redis_nothing_is_warmed(rows, away):
    with pytest.raises(CommandError, match="Redis does not answer"):
        run("cache_warm")


def test_without_postgres_a_command_ends_with_a_sentence(rows, monkeypatch):
    def gone(*args):
        raise OperationalError("connection refused\n")

    monkeypatch.setattr(verify, "read_rows", gone)
    with pytest.raises(CommandError, match=r"Postgres does not answer \(connection refused\)\."):
        run("cache_verify")


def test_ctrl_c_ends_a_long_command_with_130(rows, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "read_rows", interrupt)
    with pytest.raises(CommandError, match="Stopped") as stopped:
        run("cache_verify")
    assert stopped.value.returncode == 130


def test_ctrl_c_lets_the_batch_that_is_running_come_to_its_end(rows, monkeypatch):
    """Its leases would make readers wait, were it broken off between lease and fill."""
    transport.client().delete(rows[0])
    load = warm.read_neighbours

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return load(*args)

    monkeypatch.setattr(warm, "read_neighbours", interrupted)
    with pytest.raises(CommandError, match="Stopped") as stopped:
        run("cache_warm")
    assert stopped.value.returncode == 130
    assert transport.client().get(rows[0]).startswith(b"{")


def test_ctrl_c_gives_back_the_leases_of_batches_that_were_begun_ahead(rows, monkeypatch):
    Note.objects.bulk_create([Note() for _ in range(4500)])
    empty_redis()
    load = warm.read_neighbours

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(warm, "read_neighbours", load)
        return load(*args)

    monkeypatch.setattr(warm, "read_neighbours", interrupted)
    with pytest.raises(CommandError, match="Stopped") as stopped:
        run("cache_warm")
    assert stopped.value.__context__, "which keeps all frames, and so no generator ends by itself"
    values = transport.client().mget([f"note:{note.pk}" for note in Note.objects.all()])
    found = {key_values.name(value) for value in values}
    assert found == {"row", "absent"}


def test_a_second_ctrl_c_does_not_wait(rows, monkeypatch):
    transport.client().delete(rows[0])

    def hang(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was not heard")

    monkeypatch.setattr(warm, "read_neighbours", hang)
    with pytest.raises(CommandError, match="Stopped"):
        run("cache_warm")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("arguments", [["cache_stats", "--watch", "--json"], ["cache_repair"]])
@pytest.mark.usefixtures("past_pgbouncer")
def test_ctrl_c_ends_a_process_with_130_and_no_traceback(started, arguments):
    process = started(*arguments)
    if "--json" in arguments:
        process.stdout.readline()
    else:
        until(listeners)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_reader_that_has_seen_enough_gets_no_traceback(started):
    process = started("cache_stats", "--watch", "--json", "--interval", "0.01")
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=60)
    assert process.returncode == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize("name", ["clear", "repair", "stats", "verify", "warm"])
def test_help_says_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit):
        ManagementUtility(["manage.py", f"cache_{name}", "--help"]).execute()
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit code: 0: " in said
    assert "130: stopped by Ctrl-C" in said
    assert "--json" in said


@pytest.mark.usefixtures("past_pgbouncer")
def test_cache_repair_says_what_it_repaired_a_line_of_json_each(started, rows):
    process = started("cache_repair", "--json")
    until(listeners)
    with transaction.atomic():
        repair_log.log(connection, rows)
    assert json.loads(process.stdout.readline()) == {"repaired": 2}


@pytest.mark.usefixtures("past_pgbouncer")
def test_cache_repair_outlives_the_loss_of_its_connection(started):
    process = started("cache_repair")
    [first] = until(listeners)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [first])
    until(lambda: listeners(other_than=first))
    assert process.poll() is None


def test_progress_shows_on_a_terminal_only(monkeypatch, rows):
    class Terminal(StringIO):
        def isatty(self):
            return True

    run("cache_clear", "--yes")
    for stream, shown in ((StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert "filled." in run("cache_warm")
        assert ("Warming note" in stream.getvalue()) is shown


def test_without_redis_the_exit_of_a_process_is_2():
    done = run_in_a_pipe("cache_clear", "--yes", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "CommandError: Redis does not answer" in done.stderr
    assert "Traceback" not in done.stderr
