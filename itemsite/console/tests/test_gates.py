"""The gates of all workers are counted, and those of the dead are not."""

import os
import subprocess
import sys

import pytest

from itemsite.console import gates
from itemsite.environment import for_child

WORKER = (
    "from prometheus_client import Gauge; import sys;"
    "Gauge('cachelayer_gate_open', 'As in metrics.py.', multiprocess_mode='livesum')"
    ".set(float(sys.argv[1])); print('set', flush=True); sys.stdin.read()"
)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Starts a process with a gate; its metrics are in the folder that the workers share."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    started = []

    def start(value):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(value)],
            env=for_child({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"set\n"
        return process

    yield start
    for process in started:
        process.communicate()


def test_every_live_worker_counts(worker):
    worker(0), worker(1), worker(0)
    assert gates.collect() == {"workers": 3, "open": 1}


def test_a_worker_that_was_killed_with_an_open_gate_does_not(worker):
    worker(0)
    dead = worker(1)
    dead.kill()
    dead.wait()
    assert gates.collect() == {"workers": 1, "open": 0}


def test_a_file_that_is_just_being_made_does_not_either(worker, tmp_path):
    worker(0)
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").write_bytes(b"")
    assert gates.collect() == {"workers": 1, "open": 0}


def test_without_a_shared_folder_it_is_this_process_alone():
    assert gates.collect() == {"workers": 1, "open": 0}
