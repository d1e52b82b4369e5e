"""The commands: what they print, on which stream, one by one."""

import json
import re
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from cachelayer.checks import redis
from cachelayer.management.commands import cache_repair, cache_stats
from cachelayer.operations import verify
from cachelayer.protocol import key_values
from cachelayer.redis import transport
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note, Stamp
from cachelayer.tests.commands import run, run_in_a_pipe
from cachelayer.tests.outages import write_unseen
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)

ID = "550e8400-e29b-41d4-a716-446655440001"


@pytest.fixture
def rows():
    """The keys of two cached rows; there is a mark as well."""
    note, stamp = Note.objects.create(text="before"), Stamp.objects.create(text="red")
    transport.client().set("book:0", b"w:mark")
    return f"note:{note.pk}", f"stamp:{stamp.pk}"


class TestRepair:
    def test_once(self, rows):
        with transaction.atomic():
            repair_log.log(connection, [rows[0]])
        assert run("cache_repair", "--once") == "Repaired 1 keys.\n"

    def test_once_as_json(self, rows):
        assert json.loads(run("cache_repair", "--once", "--json")) == {"repaired": 0}

    def test_once_without_redis(self, away):
        with pytest.raises(CommandError, match="The gate is still") as ended:
            run("cache_repair", "--once", "--timeout=0")
        assert ended.value.returncode == 2


class TestSettings:
    def test_what_is_in_force_stands_beside_the_default(self, settings):
        settings.CACHELAYER = {"ROW_TTL": 60.0}
        [row] = [line for line in run("cache_settings").splitlines() if "ROW_TTL " in line]
        assert "60.0" in row
        assert "300.0" in row
        assert "how long a cached row lives" in row

    def test_as_json(self, settings):
        settings.CACHELAYER = {"PARTITION": "strict"}
        in_force = json.loads(run("cache_settings", "--json"))
        assert in_force["PARTITION"] == "strict"
        assert in_force["ROW_TTL"] == 300.0

    def test_as_a_table_for_docs(self, settings):
        settings.CACHELAYER = {"ROW_TTL": 60.0}
        assert "| `ROW_TTL` | `300.0` | how long" in run("cache_settings", "--markdown")

    def test_as_rules_for_a_user_of_redis(self):
        assert run("cache_settings", "--acl").strip() == redis.acl()


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
        with pytest.raises(
            CommandError, match=r"'session:1' is not a key .* Keys look like .*note:…"
        ):
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
        transport.client().delete(rows[0])
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
        write_unseen("UPDATE bookshop_note SET text = 'after'")

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
        transport.client().set(rows[0], b'{"text":"[red]\xff"}')
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert r"[red]\xff" in out.getvalue()

    def test_the_same_fields_in_other_bytes_are_shown_as_whole_rows(self, rows):
        row = json.loads(transport.client().get(rows[1]))
        transport.client().set(rows[1], json.dumps(row))
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert '"text": "red"' in out.getvalue()
        assert '"text":"red"' in out.getvalue()

    def test_more_differences_than_it_lists(self, rows, monkeypatch):
        monkeypatch.setattr(verify, "LISTED", 1)
        transport.client().set(rows[1], key_values.NULL)
        self.tamper()
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("cache_verify", stdout=out)
        assert out.getvalue().endswith(": 2 differences, 1 of them not listed.\n")


@pytest.mark.parametrize("redis", ["there", "away"])
def test_the_heartbeat_of_cache_repair_goes_on(own_redis, tmp_path, monkeypatch, redis):
    heartbeat, rounds = tmp_path / "alive", []

    class OverError(Exception):
        pass

    def wait(self):
        rounds.append(heartbeat.exists())
        heartbeat.unlink(missing_ok=True)
        if len(rounds) == 3:
            raise OverError

    monkeypatch.setattr(cache_repair.Command, "_wait", wait)
    if redis == "away":
        own_redis.stop()
    with pytest.raises(OverError):
        run("cache_repair", "--heartbeat", str(heartbeat))
    assert rounds == [True, True, True]
