"""Metrics that are added up later lose and invent nothing."""

import os
import threading
import time

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from cachelayer.telemetry import buffered_metrics
from cachelayer.telemetry.buffered_metrics import BatchedCounter, BatchedHistogram

VALUES = [0.0, 0.05, 0.1, 0.1000001, 0.7, 1.0, 3.0]


@pytest.fixture
def registry():
    """A registry whose metrics are shown without adding up first."""
    known = len(buffered_metrics._all)
    yield CollectorRegistry()
    del buffered_metrics._all[known:]


def samples(registry):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_histogram_is_the_same_as_prometheus_own(registry):
    buckets = (0.1, 1.0)
    own = CollectorRegistry()
    plain = Histogram("seconds", "", buckets=buckets, registry=own)
    later = BatchedHistogram(Histogram("seconds", "", buckets=buckets, registry=registry))
    for value in VALUES:
        plain.observe(value)
        later.observe(value)
    buffered_metrics.flush()
    assert samples(registry) == pytest.approx(samples(own))
    buffered_metrics.flush()
    assert samples(registry) == pytest.approx(samples(own))


def test_many_threads_are_all_counted(registry):
    counter = BatchedCounter(Counter("things", "", registry=registry))
    threads = [
        threading.Thread(target=lambda: [counter.inc() for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        buffered_metrics.flush()
    buffered_metrics.flush()
    assert samples(registry)[("things_total",)] == 8000


def test_other_processes_see_it_soon(registry):
    counter = BatchedCounter(Counter("things", "", registry=registry))
    counter.inc(3)
    deadline = time.monotonic() + 20
    while samples(registry)[("things_total",)] != 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_asks_this_process_sees_it_at_once():
    from cachelayer.telemetry import prometheus

    name, labels = "cachelayer_reads_total", {"outcome": "miss", "kind": "row"}
    before = REGISTRY.get_sample_value(name, labels)
    prometheus.reads["row", "miss"].inc()
    assert REGISTRY.get_sample_value(name, labels) == before + 1


def test_a_forked_child_does_not_count_what_its_parent_noted(registry):
    counter = BatchedCounter(Counter("things", "", registry=registry))
    buffered_metrics._task.wake()
    counter._noted.append(5)
    child = os.fork()
    if not child:
        buffered_metrics.flush()
        os._exit(int(samples(registry)[("things_total",)]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    buffered_metrics.flush()
    assert samples(registry)[("things_total",)] == 5
