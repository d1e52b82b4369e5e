"""What Prometheus is told, of one process and of several."""

import re
import shutil
import subprocess
import sys
import time
from itertools import product

import pytest
from django.db import connection, transaction
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import cachelayer
from cachelayer.contrib import metrics_page
from cachelayer.protocol import drain, key_states, key_values, stamps
from cachelayer.redis import epoch, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.outages import NEVER_ENDS
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told():
    """How much a sample has grown since the test began."""
    before = {}

    def now(name, **labels):
        return REGISTRY.get_sample_value(f"cachelayer_{name}", labels) or 0

    for family in REGISTRY.collect():
        for sample in family.samples:
            before[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def grown(name, **labels):
        known = before.get((f"cachelayer_{name}", tuple(sorted(labels.items()))), 0)
        return now(name, **labels) - known

    return grown


def page():
    """The samples of the page by name, those of the cache layer without labels."""
    families = text_string_to_metric_families(metrics_page.page().decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_reads_are_counted_by_outcome(told):
    note = Note.objects.create()
    transport.client().delete(f"note:{note.pk}")
    cachelayer.read(Note, note.pk)
    cachelayer.read_many(Note, [note.pk, note.pk])
    key_states.mark([f"note:{note.pk}"], b"w:somebody")
    cachelayer.read(Note, note.pk)
    assert told("reads_total", outcome="miss", kind="row") == 1
    assert told("reads_total", outcome="hit", kind="row") == 1
    assert told("reads_total", outcome="bypass", kind="row") == 1


def test_whole_reads_are_timed_by_outcome(told):
    note = Note.objects.create()
    cachelayer.read(Note, note.pk)
    transport.client().delete(f"note:{note.pk}")
    cachelayer.read(Note, note.pk)
    key_states.mark([f"note:{note.pk}"], b"w:somebody")
    cachelayer.read(Note, note.pk)
    for outcome in ("hit", "miss", "bypass"):
        assert told("read_seconds_count", outcome=outcome) == 1


def test_cached_rows_are_counted_for_the_page(own_redis):
    before = page()["cachelayer_cached_rows"]
    Note.objects.bulk_create([Note(), Note()])
    assert page()["cachelayer_cached_rows"] == before + 2
    own_redis.kill()
    assert "cachelayer_cached_rows" not in page()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool checks the names; install it")
def test_names_follow_prometheus_rules():
    # Not the requests to views whose names contain ours.
    ours = re.compile("(# (HELP|TYPE) )?cachelayer_")
    own = "\n".join(line for line in metrics_page.page().decode().split("\n") if ours.match(line))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=f"{own}\n", capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout + checked.stderr == ""


def test_round_trips_are_timed_by_operation(told):
    note = Note.objects.create()
    key_states.drop([f"note:{note.pk}"])
    cachelayer.read(Note, note.pk)
    key_states.repair([f"note:{note.pk}"], f"trusted {epoch.known()}")
    key_states.release([f"note:{note.pk}"], key_values.new_mark(NEVER_ENDS))
    stamps.note("default", ["@nothing:*"])
    transport.ping()
    for operation in (
        "get", "lease", "stamp", "fill", "mark", "push", "release", "repair", "drop", "other"
    ):  # fmt: skip
        assert told("redis_seconds_count", operation=operation) == 1, operation


def test_a_round_trip_that_fails_is_timed_as_well(own_redis, told):
    own_redis.stop()
    cachelayer.read(Note, Note().pk)
    assert told("redis_seconds_count", operation="get") == 1


def test_pushes_are_counted_by_what_became_of_them(told):
    note = Note.objects.create()
    key = f"note:{note.pk}"
    assert told("pushes_total", result="pushed", kind="row") == 1
    with stopped(key_states, "push") as push:
        writer = start(note.save)
        push.reached()
        transport.client().delete(key)
        push.release()
        writer.result()
    assert told("pushes_total", result="lost", kind="row") == 1
    with stopped(key_states, "push") as push:
        writer = start(note.save)
        push.reached()
        key_states.mark([key], b"w:later")
        push.release()
        writer.result()
    assert told("pushes_total", result="superseded", kind="row") == 1


def test_a_large_transaction_invalidates(settings, told):
    settings.CACHELAYER = {"PUSH_LIMIT": 2}
    with transaction.atomic():
        for _ in range(3):
            Note.objects.create()
    assert told("pushes_total", result="invalidated", kind="row") == 3


def test_rows_that_could_not_be_pushed_are_counted(own_redis, told):
    own_redis.stop()
    Note.objects.bulk_create([Note(), Note()])
    assert told("pushes_total", result="unsent", kind="row") == 2


def test_the_gate_is_shown_with_each_change_and_when(own_redis, settings, told):
    settings.CACHELAYER = {"PROBE_INTERVAL": 0.02, "SETTLING_TIME": 0.05}
    began = time.time()
    own_redis.kill()
    cachelayer.read(Note, Note().pk)
    # The gate changes first, and is counted then.
    until(lambda: told("gate_changes_total", to="open") == 1)
    assert page()["cachelayer_gate_open"] == 1
    assert page()["cachelayer_gate_changed_timestamp_seconds"] >= began
    own_redis.start()
    until(lambda: gate.mode is Mode.CLOSED)
    until(lambda: page()["cachelayer_gate_open"] == 0)
    assert told("gate_changes_total", to="settling") >= 1
    assert told("gate_changes_total", to="closed") >= 1


def test_a_reader_that_waits_for_another_is_counted_once(told):
    note = Note.objects.create()
    key = f"note:{note.pk}"
    transport.client().delete(key)
    key_states.lease({key: None}, b"r:somebody")
    assert cachelayer.read(Note, note.pk).outcome == "miss", "the other may be dead"
    assert told("stampede_waits_total") == 1


def test_the_repair_log_is_looked_at_for_the_page():
    with transaction.atomic():
        repair_log.log(connection, ["note:1", "note:2"])
    assert page()["cachelayer_repair_backlog"] == 2
    lag = page()["cachelayer_repair_lag_seconds"]
    assert lag > 0
    assert page()["cachelayer_repair_lag_seconds"] > lag
    drain.drain()
    assert page()["cachelayer_repair_backlog"] == 0
    assert page()["cachelayer_repair_lag_seconds"] == 0


def test_without_postgres_the_page_leaves_the_repair_log_out(monkeypatch):
    with monkeypatch.context() as outage:
        outage.setitem(connection.settings_dict, "PORT", 1)
        shown = page()
    assert "cachelayer_gate_open" in shown
    assert not [name for name in shown if name.startswith("cachelayer_repair")]


def test_every_outcome_is_on_the_page_before_it_happens():
    families = {f.name: f for f in text_string_to_metric_families(metrics_page.page().decode())}
    shown = {
        family: {tuple(sample.labels.values()) for sample in families[family].samples}
        for family in ("cachelayer_reads", "cachelayer_pushes", "cachelayer_gate_changes")
    }
    kinds = ("row", "document", "page")
    outcomes = ("hit", "miss", "bypass")
    assert set(product(kinds, outcomes)) <= shown["cachelayer_reads"]
    assert {("row", "lost"), ("stamp", "invalidated")} <= shown["cachelayer_pushes"]
    assert {("open",), ("settling",), ("closed",)} <= shown["cachelayer_gate_changes"]


_WORKER = """
import sys
from cachelayer import events
from cachelayer.telemetry import buffered_metrics, prometheus
prometheus.listen()
prometheus.reads["row", "hit"].inc(int(sys.argv[1]))
buffered_metrics.flush()
events.gate_changed(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""
_PAGE = """
import django
django.setup()
from cachelayer.contrib import metrics_page
print(metrics_page.page().decode())
"""


def test_several_processes_are_one_page_and_a_killed_ones_gate_is_no_open_gate(tmp_path):
    environment = {**environment_here(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def shown():
        text = subprocess.run(
            [sys.executable, "-c", _PAGE], env=environment, capture_output=True, text=True
        ).stdout
        families = text_string_to_metric_families(text)
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, hits, mode],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for hits, mode in (("2", "open"), ("3", "open"), ("4", "closed"))
    ]
    try:
        for worker in workers:
            assert worker.stdout.readline() == b"ready\n"
        assert shown()["cachelayer_reads_total", "row", "hit"] == 9
        assert shown()[("cachelayer_gate_open",)] == 2
        workers[0].kill()
        workers[0].wait()
        mark_dead = "import sys; from prometheus_client import multiprocess as m; "
        mark_dead += f"m.mark_process_dead({workers[0].pid})"
        subprocess.run([sys.executable, "-c", mark_dead], env=environment, check=True)
        assert shown()[("cachelayer_gate_open",)] == 1
        assert shown()["cachelayer_reads_total", "row", "hit"] == 9
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
