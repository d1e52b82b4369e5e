"""The gates and round trips of every process of the host, from the files that they share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.telemetry import buffered_metrics, counters, processes
from cachelayer.telemetry.processes import Processes, quantile
from cachelayer.tests.commands import environment_here

#: A process with a gate; it says when it is ready, and ends with its input.
PROGRAM = """
import django; django.setup()
from cachelayer.redis import transport
from cachelayer import events
from cachelayer.telemetry import buffered_metrics
from cachelayer.redis.gate import Mode, gate
transport.round_trip(("GET", "note:1"))
buffered_metrics.flush()
if {opens}:
    events.gate_changed("open")
print("ready", flush=True)
input()
"""


@pytest.fixture
def workers(tmp_path, monkeypatch, transactional_db):
    started = []

    def start(opens):
        environment = {
            **environment_here(),
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        }
        worker = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(opens=opens)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        assert worker.stdout.readline() == "ready\n"
        return worker

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def test_a_process_that_has_just_begun_is_not_there_yet(workers, tmp_path):
    worker = workers(False)
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").write_bytes(b"")
    assert [process.pid for process in processes.gates().gates] == [worker.pid]


def test_every_live_process_is_there_with_its_gate(workers):
    closed, opened, killed = workers(False), workers(True), workers(True)
    killed.kill()
    killed.wait()
    found = processes.gates()
    assert found.all_known
    assert {process.pid: process.passes_redis for process in found.gates} == {
        closed.pid: False,
        opened.pid: True,
    }
    assert found.passing_redis == 1
    changed = {process.pid: process.changed for process in found.gates}
    assert changed[closed.pid] == 0 < changed[opened.pid]


def test_the_round_trips_of_all_of_them_are_counted(workers):
    workers(False), workers(False)
    [get] = [latency for latency in processes.latencies() if latency.operation == "get"]
    assert get.count == 2
    assert 0 < get.median <= get.p99


def test_without_a_shared_folder_it_knows_itself_only(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.setattr(gate, "_run", lambda: None)
    assert processes.gates() == Processes(
        [processes.Process(os.getpid(), False, 0.0)], all_known=False
    )
    gate.settle("for this test")
    [own] = processes.gates().gates
    assert own.passes_redis
    assert own.changed == gate.state.since


def test_its_own_round_trips_are_there_without_a_shared_folder(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    transport.round_trip(("GET", "note:1"))
    buffered_metrics.flush()
    assert "get" in {latency.operation for latency in processes.latencies()}


@pytest.mark.parametrize(
    ("share", "seconds"),
    [
        (0.25, 0.5),  # In the middle of the first bucket.
        (0.5, 1.0),
        (0.75, 1.5),
        (0.99, 2.0),  # Above the last bound nothing more is known.
    ],
)
def test_a_quantile_is_that_of_prometheus(share, seconds):
    buckets = [(1.0, 50), (2.0, 100), (float("inf"), 110)]
    assert quantile(buckets, share * 100 / 110) == pytest.approx(seconds, rel=0.02)


def test_no_file_of_a_dead_process_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert processes.gates() == Processes([], all_known=True)
    Path(tmp_path / "gauge_livesum_999999999.db").write_bytes(b"")
    assert processes.gates() == Processes([], all_known=True)


def test_history_keeps_what_was_counted_in_its_slice(settings, monkeypatch):
    settings.CACHELAYER = {"COUNT_INTERVAL": 3600.0}
    monkeypatch.setattr(counters, "_counts", counters.Counts())
    now = 1_000_000.0
    monkeypatch.setattr(counters.time, "time", lambda: now)
    counters.add("hit", 3)
    counters.flush()
    now += counters.SLICE
    counters.add("hit", 4)
    counters.add("miss")
    found = counters.history(3)
    assert [piece.start for piece in found] == [999_980 + 10 * n for n in range(1, 4)]
    assert [piece.counts["hit"] for piece in found] == [0, 3, 4]
    assert found[-1].counts["miss"] == 1
    assert counters.totals()["hit"] == 7
    [key] = transport.client().keys("*slice:100000")
    assert 0 < transport.client().ttl(key) <= counters.SLICE * counters.SLICES
