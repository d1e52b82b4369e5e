"""The commands: what they print, on which stream, and how they exit."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import OperationalError, connection, transaction

from cachelayer import counters, link, repair, states, verify, warm
from cachelayer.management.commands import cache_stats
from cachelayer.tests.bookshop.models import Note, Stamp

pytestmark = pytest.mark.django_db(transaction=True)

ID = "550e8400-e29b-41d4-a716-446655440001"


def run(name, *arguments):
    """What the command writes to standard output."""
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def environment_here():
    """That of a process on this test's servers."""
    url = f"/{connection.settings_dict['NAME']}"
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": django_settings.SETTINGS_MODULE,
        "DATABASE_URL": re.sub(r"(?<=[^/])/[^/?]*(?=\?|$)", url, os.environ["DATABASE_URL"]),
    }


def run_in_a_pipe(name, *arguments, **environment):
    """The command as a process of its own, on this test's servers."""
    return subprocess.run(
        [sys.executable, "-m", "django", name, *arguments],
        capture_output=True,
        text=True,
        env={**environment_here(), **environment},
        cwd=django_settings.BASE_DIR,
        input="",
        timeout=60,
    )


@pytest.fixture
def rows():
    """The keys of two cached rows; there is a mark as well."""
    note, stamp = Note.objects.create(text="before"), Stamp.objects.create(text="red")
    link.client().set("book:0", b"w:mark")
    return f"note:{note.pk}", f"stamp:{stamp.pk}"


@pytest.mark.parametrize("name", ["cache_clear --yes", f"cache_clear note:{ID}", "cache_verify"])
def test_without_redis_a_command_ends_with_a_sentence(name, away):
    with pytest.raises(CommandError, match=r"Redis does not answer .*refused.* then repeat\.$"):
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


def test_ctrl_c_lets_the_batch_that_is_running_come_to_its_end(rows, monkeypatch):
    """Its leases would make readers wait, were it broken off between lease and fill."""
    link.client().delete(rows[0])
    load = warm.read_rows

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return load(*args)

    monkeypatch.setattr(warm, "read_rows", interrupted)
    with pytest.raises(CommandError, match="Stopped") as stopped:
        run("cache_warm")
    assert stopped.value.returncode == 130
    assert link.client().get(rows[0]).startswith(b"{")


def test_a_second_ctrl_c_does_not_wait(rows, monkeypatch):
    link.client().delete(rows[0])

    def hang(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was not heard")

    monkeypatch.setattr(warm, "read_rows", hang)
    with pytest.raises(CommandError, match="Stopped"):
        run("cache_warm")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("arguments", [["cache_stats", "--watch", "--json"], ["cache_repair"]])
def test_ctrl_c_ends_a_process_with_130_and_no_traceback(started, arguments):
    process = started(*arguments)
    if "--json" in arguments:
        process.stdout.readline()
    else:
        wait_for_listener()
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


class TestRepair:
    def test_once(self, rows):
        with transaction.atomic():
            repair.log(connection, [rows[0]])
        assert run("cache_repair", "--once") == "Repaired 1 keys.\n"

    def test_once_as_json(self, rows):
        assert json.loads(run("cache_repair", "--once", "--json")) == {"repaired": 0}

    def test_once_without_redis(self, away):
        with pytest.raises(CommandError, match="The gate is still") as ended:
            run("cache_repair", "--once", "--timeout=0")
        assert ended.value.returncode == 2

    def test_it_outlives_the_loss_of_its_connection(self, started):
        process = started("cache_repair")
        [first] = wait_for_listener()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [first])
        wait_for_listener(other_than=first)
        assert process.poll() is None


def wait_for_listener(other_than=0):
    """The backends on which ``cache_repair`` waits, as soon as there is one."""
    deadline = time.monotonic() + 60
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND query = %s AND pid <> %s",
                [f"LISTEN {repair.CHANNEL}", other_than],
            )
            found = [pid for (pid,) in cursor.fetchall()]
        if found:
            return found
        assert time.monotonic() < deadline, "cache_repair does not listen"
        time.sleep(0.02)


class TestStats:
    def test_as_text(self, rows):
        counters.add("hit", 3)
        counters.add("miss", 1)
        lines = dict(re.split(r"  +", line, maxsplit=1) for line in run("cache_stats").splitlines())
        assert lines.pop("gate (this process)").startswith("closed since 2")
        assert lines == {
            "cached_items": "2",
            "cached_items_exact": "True",
            "total_hits": "3",
            "total_misses": "1",
            "total_bypasses": "0",
            "hit_rate": "75.0 %",
            "redis": "ok",
            "repair": "0 keys wait, the oldest for 0.0 s",
            "live_check": "0 of 0 checked hits were stale",
        }

    def test_what_the_live_check_found(self):
        counters.add("checked", 3000)
        assert "0 of 3000 checked hits were stale; below 0.001 of all hits" in run("cache_stats")

    def test_without_postgres(self, monkeypatch):
        with monkeypatch.context() as outage:
            outage.setitem(connection.settings_dict, "PORT", 1)
            out = run("cache_stats")
        assert re.search(r"^repair +unknown while Postgres is away$", out, re.M)
        assert re.search(r"^redis +ok$", out, re.M)

    def test_as_json(self, rows):
        out = run("cache_stats", "--json")
        assert out.count("\n") == 1
        assert json.loads(out)["cached_items"] == 2

    def test_without_redis(self, away):
        out = run("cache_stats")
        assert re.search(r"^redis +down$", out, re.M)
        assert re.search(r"^total_hits +unknown while Redis is away$", out, re.M)
        assert re.search(
            r"^gate \(this process\) +(open|settling) since .*Connection refused", out, re.M
        )

    @pytest.mark.parametrize("arguments", [[], ["--json"]])
    def test_watch_goes_on_until_ctrl_c(self, rows, monkeypatch, arguments):
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(cache_stats.time, "sleep", sleep)
        out = StringIO()
        with pytest.raises(SystemExit) as stopped:
            call_command("cache_stats", "--watch", "--interval", "0.5", *arguments, stdout=out)
        assert stopped.value.code == 130
        assert pauses == [0.5] * 3
        if arguments:
            assert [json.loads(line)["redis"] for line in out.getvalue().splitlines()] == ["ok"] * 3
        else:
            assert len(out.getvalue().split("\n\n")) == 3

    @pytest.mark.parametrize("interval", ["0", "-1"])
    def test_an_interval_that_is_none(self, interval):
        with pytest.raises(CommandError, match="above 0"):
            run("cache_stats", "--watch", f"--interval={interval}")


class TestClear:
    def test_all(self, rows, value):
        assert run("cache_clear", "--yes") == "Deleted 2 keys.\n"
        assert value(rows[0]) is None
        assert value("book:0") == b"w:mark"

    def test_some(self, rows, value):
        assert run("cache_clear", rows[0]) == "Deleted 1 keys.\n"
        assert value(rows[1]) is not None

    def test_as_json(self, rows):
        answer = json.loads(run("cache_clear", "--yes", "--json"))
        assert answer == {"status": "cleared", "keys_deleted": 2}

    def test_a_key_of_no_cached_model(self, rows, value):
        with pytest.raises(CommandError, match=r"'session:1' is no key .* Keys look like .*note:…"):
            run("cache_clear", rows[0], "session:1")
        assert value(rows[0]) is not None

    @pytest.mark.parametrize("answer", ["y", "Y", "yes", " yes "])
    def test_it_asks_and_takes_yes(self, rows, value, monkeypatch, capsys, answer):
        monkeypatch.setattr(sys, "stdin", StringIO(f"{answer}\n"))
        assert run("cache_clear") == "Deleted 2 keys.\n"
        asked = capsys.readouterr()
        assert asked.err.startswith("Delete every cached row?")
        assert asked.out == "", "the question does not stand among the results"

    @pytest.mark.parametrize("answer", ["", "n", "no", "yeah"])
    def test_it_asks_and_takes_no(self, rows, value, monkeypatch, answer):
        monkeypatch.setattr(sys, "stdin", StringIO(f"{answer}\n"))
        with pytest.raises(CommandError, match="Nothing was deleted"):
            run("cache_clear")
        assert value(rows[0]) is not None

    def test_nobody_to_ask(self, rows, value, monkeypatch):
        monkeypatch.setattr(sys, "stdin", StringIO(""))
        with pytest.raises(CommandError, match="Add --yes"):
            run("cache_clear")
        assert value(rows[0]) is not None


class TestWarm:
    def test_as_text(self, rows):
        link.client().delete(rows[0])
        lines = run("cache_warm").splitlines()
        assert "note: 1 rows, 1 filled." in lines
        assert "stamp: 1 rows, 0 filled." in lines

    def test_as_json(self, rows):
        run("cache_clear", "--yes")
        report = json.loads(run("cache_warm", "--json"))
        assert report["note"] == report["stamp"] == {"rows": 1, "filled": 1}
        assert report["book"] == {"rows": 0, "filled": 0}

    def test_it_is_silent_in_a_pipe(self, rows):
        run("cache_clear", "--yes")
        done = run_in_a_pipe("cache_warm", "--json", FORCE_COLOR="1")
        assert done.stderr == ""
        assert json.loads(done.stdout)["note"] == {"rows": 1, "filled": 1}
        assert done.returncode == 0


class TestVerify:
    def tamper(self):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bookshop_note SET text = 'after'")

    def test_no_difference(self, rows):
        assert run("cache_verify") == "Compared 2 cached rows: 0 differences.\n"

    def test_no_difference_as_json(self, rows):
        report = json.loads(run("cache_verify", "--json"))
        assert report == {"compared": 2, "differing": 0, "differences": []}

    def test_a_difference_is_a_table_and_exit_1(self, rows):
        self.tamper()
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("cache_verify", stdout=out)
        assert ended.value.code == 1
        table = out.getvalue()
        cells = [cell.strip() for cell in re.split("[│\n]", table)]
        assert {rows[0], "text", '"before"', '"after"'} <= set(cells)
        assert "stars" not in cells, "which does not differ"
        assert table.endswith("Compared 2 cached rows: 1 differences.\n")

    def test_a_difference_as_json(self, rows):
        self.tamper()
        done = run_in_a_pipe("cache_verify", "--json")
        assert done.returncode == 1
        assert done.stderr == ""
        report = json.loads(done.stdout)
        assert (report["compared"], report["differing"]) == (2, 1)
        [difference] = report["differences"]
        assert difference["key"] == rows[0]
        assert json.loads(difference["cached"])["text"] == "before"
        assert json.loads(difference["row"])["text"] == "after"

    def test_a_value_that_is_no_text_is_shown_all_the_same(self, rows):
        link.client().set(rows[0], b'{"text":"[red]\xff"}')
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert r"[red]\xff" in out.getvalue()

    def test_the_same_fields_in_other_bytes_are_shown_as_whole_rows(self, rows):
        row = json.loads(link.client().get(rows[1]))
        link.client().set(rows[1], json.dumps(row))
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert '"text": "red"' in out.getvalue()
        assert '"text":"red"' in out.getvalue()

    def test_more_differences_than_it_lists(self, rows, monkeypatch):
        monkeypatch.setattr(verify, "LISTED", 1)
        link.client().set(rows[1], states.NULL)
        self.tamper()
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert out.getvalue().endswith(": 2 differences, 1 of them not listed.\n")


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
