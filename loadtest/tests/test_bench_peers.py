"""The benchmark's peers are what its rows say: each serves the row, and ends with its row."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import orjson
import psutil
import pytest

from loadtest.bench import markdown, peer_servers, scaling, story, wrk
from loadtest.bench.comparisons import comparisons
from loadtest.bench.outcome import of_rates
from loadtest.bench.peer_servers import KEYS, PEERS, missing
from loadtest.bench.testbed import Testbed as Bench
from loadtest.isolated_lab import Served
from loadtest.tests.stale_api import stale_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ID = "00000000-0000-4000-8000-000000000001"
ROWS = 40
#: What its name says, and no row.
SERVING = [name for name in PEERS if name != "constant_on_loop"]
WITHOUT = """
import sys
sys.modules[{module!r}] = None
from loadtest.bench.__main__ import main
sys.exit(main(["--row", {row!r}]))
"""
IS_TRACED = """
from loadtest.bench.peers.fast_api import application
print(getattr(application, "_is_instrumented_by_opentelemetry", False))
"""


@pytest.fixture(scope="module")
def testbed(tmp_path_factory):
    testbed = Bench(tmp_path_factory.mktemp("bench"), rows=ROWS)
    try:
        testbed.start()
        yield testbed
    finally:
        testbed.stop()


def row_of(body):
    """What all say, however each writes a number and a time."""
    row = orjson.loads(body)
    times = [datetime.fromisoformat(row[name]) for name in ("created_at", "updated_at")]
    return row["id"], row["name"], row["description"], float(row["price"]), *times


@pytest.mark.parametrize("name", SERVING)
def test_a_peer_answers_what_the_lab_does_and_leaves_no_process(testbed, name):
    if advice := missing(name):
        pytest.skip(advice)
    path = f"/items/{ID}"
    expected = row_of(testbed.get(path))
    testbed.redis.delete(*{keys + ID for keys in KEYS.values()} - {KEYS["lab"] + ID})
    served = testbed.peer(name)
    processes = [psutil.Process(pid) for pid in (served.pid, *served.workers)]
    assert len(processes) >= 3, "two workers"
    # The second answer is a hit.
    assert [row_of(testbed.get(path, served)) for _ in range(2)] == [expected] * 2
    if name in KEYS:
        assert testbed.redis.exists(KEYS[name] + ID), "what warm() looks for"
    testbed.stop_peers()
    assert not any(process.is_running() for process in processes)


@pytest.mark.skipif(not wrk.is_installed(), reason="wrk is not installed")
def test_a_row_that_the_first_walk_does_not_cache_is_walked_again(testbed, monkeypatch):
    testbed.redis.delete(KEYS["lab"] + ID)
    walks = []

    def all_but_the_first_row(served, load, seconds, walk=wrk.once):
        walks.append(load)
        if len(walks) > 1:
            return walk(served, load, seconds)
        run = walk(served, replace(load, first=load.first + 1, count=load.count - 1), seconds)
        return replace(run, requests=load.count)

    monkeypatch.setattr(wrk, "once", all_but_the_first_row)
    testbed.warm("lab", wrk.Load("get", count=ROWS))
    assert testbed.redis.exists(KEYS["lab"] + ID), "a peer without a database would refuse it"


def test_every_row_compares_servers_that_there_are():
    every = comparisons(100_000)
    assert len({each.row for each in every}) == len(every)
    assert {name for each in every for name in (each.subject, each.base)} <= {"lab", *PEERS}


@pytest.mark.parametrize(
    ("row", "module", "requirements"),
    [
        ("hit_bolt", "django_bolt", "loadtest/requirements.txt"),
        ("hit_async", "fastapi", "loadtest/requirements.txt"),
        ("hit_started", "opentelemetry.instrumentation.fastapi", "loadtest/requirements.txt"),
        ("hit_cacheops", "cacheops", "requirements-load.txt"),
        ("mixed", "locust", "requirements-load.txt"),
    ],
)
def test_without_its_peer_a_row_is_left_out_with_a_sentence(row, module, requirements):
    code = WITHOUT.format(row=row, module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    assert f"{row} needs packages for its peer, so it is left out." in said
    assert f"pip install -r {requirements}" in said


def test_a_module_is_missing_where_its_package_is_too():
    assert not peer_servers._is_installed("no_such_package.module")


@pytest.mark.skipif(bool(missing("fast_api_traced")), reason="fastapi is not installed")
@pytest.mark.parametrize("name", ["fast_api_traced", "fast_api_untraced"])
def test_the_async_peer_is_instrumented_or_not_at_all(testbed, name):
    environment = testbed.lab.environment(PEERS[name].settings)
    command = [sys.executable, "-c", IS_TRACED]
    done = subprocess.run(
        command, cwd=testbed.lab.root, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(name == "fast_api_traced")], done.stderr


@pytest.mark.skipif(bool(missing("lab_before")), reason="locust is not installed")
def test_a_story_in_which_a_read_was_stale_is_no_measurement():
    # Of twenty people two are editors, who check what they read.
    with stale_api() as url, pytest.raises(RuntimeError, match="stale"):
        story.once(Served(url, psutil.Process().pid), story.Load("story", clients=20), 1)


def test_the_slowest_hundredth_of_many_connections_has_its_own_goal():
    p99s = {"p99s_ms": [300.0, 150.0], "p99s_ms_of_base": [10.0, 10.0]}
    outcome = scaling.slowest(of_rates("scaling", "rates", 0.9, [9.0, 9.0], [9.0, 9.0], **p99s))
    assert (outcome.goal, outcome.at_least, outcome.met) == (20, False, False)
    assert (outcome.value, *outcome.spread) == pytest.approx((22.5, 15.0, 30.0))
    loads = scaling.CONNECTIONS.load, scaling.CONNECTIONS.base_load
    assert [load.clients for load in loads] == [256, 16]


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    bool(missing("bolt") or missing("lab_before") or not wrk.is_installed()),
    reason="django-bolt, locust or wrk is not installed",
)
def test_it_measures_beside_django_bolt_and_with_the_story_of_locust(tmp_path):
    rows = ("--row", "hit_bolt", "--row", "mixed", "--quick", "--repeats", "1", "--seconds", "1")
    command = [sys.executable, "-m", "loadtest.bench", *rows, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    measured = json.loads((tmp_path / "bench.json").read_bytes())
    found = [(row["row"], row["goal"], row["figures"]["peer"]) for row in measured["rows"]]
    assert found == [("hit_bolt", 1.1, "bolt"), ("mixed", 3, "lab_before")]
    table = markdown.tables(measured)
    for row in measured["rows"]:
        assert row["value"] > 0
        assert all(row["figures"][name]["generator"] > 0 for name in ("cpu_us", "cpu_us_of_base"))
        assert table.count(f"| {row['what']} | ") == 2, "what it reached, and its processor time"
