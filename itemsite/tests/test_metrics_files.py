"""Workers come and go: their counts stay, their files do not."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from http.client import HTTPException

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cachelayer.contrib import metrics_page
from cachelayer.telemetry import processes
from itemsite import metrics_files
from itemsite.metrics_files import Collector, fold
from itemsite.tests.running_site import HOT, running_site, until

pytestmark = pytest.mark.slow

_WORKER = """
import sys
from prometheus_client import Counter, Gauge, Histogram
number = int(sys.argv[1])
Counter("reads", "Reads.", ["outcome"]).labels("hit").inc(number)
Histogram("seconds", "Time.", buckets=(1, 5)).observe(number)
for mode in ("all", "sum", "max", "min", "mostrecent", "livesum", "liveall"):
    Gauge(mode, "A gauge.", multiprocess_mode=mode).set(number)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path):
    """Start a process that counts to a number; it is killed in the end."""
    started = []

    def start(number):
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(number)],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def shown(folder):
    """Every sample that the workers' files give, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in Collector(folder).collect()
        for sample in metric.samples
    }


def kill(process):
    process.kill()
    process.wait()


def test_a_dead_workers_counts_are_kept_and_its_files_are_not(tmp_path, worker):
    workers = [worker(number) for number in (1, 2, 4)]
    before = shown(tmp_path)
    assert before["reads_total", "hit"] == 7
    for process in workers[:2]:
        kill(process)
        fold(tmp_path, process.pid)
    after = shown(tmp_path)
    kept = {name for name in before if name[0] not in ("livesum", "liveall", "all")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["seconds_bucket", "1.0"] == 1
    assert after["seconds_bucket", "5.0"] == 3
    assert after["seconds_sum",] == 7
    assert after["livesum",] == 4
    assert {name for name in after if name[0] in ("all", "liveall")} == {
        ("all", str(workers[2].pid)),
        ("liveall", str(workers[2].pid)),
    }
    assert not [p for p in tmp_path.glob("*.db") if str(workers[0].pid) in p.name]


def test_folding_again_and_again_makes_no_more_files(tmp_path, worker):
    counts = []
    for number in range(1, 5):
        process = worker(number)
        kill(process)
        fold(tmp_path, process.pid)
        counts.append((shown(tmp_path)["reads_total", "hit"], len(list(tmp_path.iterdir()))))
    assert [total for total, _ in counts] == [1, 3, 6, 10]
    assert len({files for _, files in counts}) == 1


def test_a_worker_killed_while_it_made_its_file_spoils_nothing(tmp_path, worker):
    (tmp_path / "counter_1.db").touch()
    alive = worker(3)
    fold(tmp_path, 1)
    assert shown(tmp_path)["reads_total", "hit"] == 3
    assert alive.poll() is None


def test_a_reader_that_hangs_only_puts_it_off(tmp_path, worker, monkeypatch):
    monkeypatch.setattr(metrics_files, "_PATIENCE", 0.05)
    first, second = worker(1), worker(2)
    kill(first)
    with (tmp_path / "lock").open("a") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        fold(tmp_path, first.pid)
        assert (tmp_path / f"counter_{first.pid}.db").exists()
    kill(second)
    fold(tmp_path, second.pid)
    assert {path.name for path in tmp_path.glob("counter_*")} == {"counter_dead.db"}
    assert shown(tmp_path)["reads_total", "hit"] == 3


def test_a_worker_with_the_pid_of_one_that_is_still_to_be_folded_keeps_its_files(
    tmp_path, worker, monkeypatch
):
    monkeypatch.setattr(metrics_files, "_PATIENCE", 0.05)
    dead, again = worker(1), worker(2)
    kill(dead)
    with (tmp_path / "lock").open("a") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        # As if an earlier process with this pid had died while somebody read.
        fold(tmp_path, again.pid)
    fold(tmp_path, dead.pid, alive=[again.pid])
    assert (tmp_path / f"counter_{again.pid}.db").exists()
    assert not (tmp_path / f"counter_{dead.pid}.db").exists()
    assert shown(tmp_path)["reads_total", "hit"] == 3


def test_a_reader_waits_for_a_fold(tmp_path, worker):
    worker(1)
    done = threading.Event()

    def read():
        shown(tmp_path)
        done.set()

    with (tmp_path / "lock").open("a") as folding:
        fcntl.flock(folding, fcntl.LOCK_EX)
        reader = threading.Thread(target=read)
        reader.start()
        assert not done.wait(0.2)
    assert done.wait(20)
    reader.join()


@pytest.mark.django_db(transaction=True)
def test_the_page_shows_what_the_collector_gives(tmp_path, worker):
    worker(5)
    text = metrics_page.page(Collector(tmp_path)).decode()
    assert 'reads_total{outcome="hit"} 5.0' in text


def test_a_file_that_is_just_being_made_is_no_error(worker, tmp_path):
    worker(3)
    (tmp_path / "counter_1.db").touch()
    assert shown(tmp_path)["reads_total", "hit"] == 3


def test_every_worker_is_known_before_it_is_asked_anything(tmp_path_factory, monkeypatch):
    with running_site(tmp_path_factory) as site:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(site.web.directory / "metrics"))
        # One has answered /health. The other may have been forked just now.
        until(lambda: len(site.web.workers) == 2)
        until(lambda: {each.pid for each in processes.gates().gates} == set(site.web.workers))


@pytest.mark.timeout(300)
def test_counts_never_go_down_while_workers_are_killed_under_load(tmp_path_factory):
    with running_site(tmp_path_factory) as site:
        folder = site.web.directory / "metrics"
        stop, failures, answered = threading.Event(), [], []

        def load():
            while not stop.is_set():
                with suppress(OSError, HTTPException):  # Its worker was just killed.
                    answered.append(site.get(HOT).status)

        def scrape():
            last = {}
            while not stop.is_set():
                try:
                    answer = site.get("/metrics")
                except (OSError, HTTPException):
                    continue
                if answer.status != 200:
                    failures.append(answer)
                    continue
                now = counts(answer.text)
                failures.extend(
                    (name, last[name], now.get(name))
                    for name in last
                    if now.get(name, -1) < last[name]
                )
                last.update(now)

        threads = [threading.Thread(target=target) for target in (load, load, scrape, scrape)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                served = len(answered)
                until(lambda served=served: len(answered) > served + 20, 60)
                victims = site.web.workers
                os.kill(victims[0], signal.SIGKILL)
                until(
                    lambda victims=victims: (
                        len(set(site.web.workers)) == 2 and site.web.workers != victims
                    ),
                    60,
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []

        def hits():
            return counts(site.get("/metrics").text)[("cachelayer_reads_total", "row", "hit")]

        # Killed, a worker loses what it had noted and not yet added up; what a scrape has
        # shown is never lost, and of those that live every read is counted.
        before = hits()
        # A kill can come between a read's count and its answer: two clients, eight kills.
        assert 0 < before <= answered.count(200) + 2 * 8
        for _ in range(50):
            assert site.get(HOT).status == 200
        until(lambda: hits() >= before + 50, 60)
        # Those of the two that live, if they count already, and one for all that are dead.
        kinds = {path.name.rpartition("_")[0] for path in folder.glob("*.db")}
        assert len(list(folder.glob("*.db"))) <= 3 * len(kinds)


def counts(text):
    """The samples that may only grow."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }
