"""Short storms against a separate lab: the cache keeps the promise, the naive control does not."""

import json
import subprocess
import sys

import pytest

from loadtest import fault_injection
from loadtest.isolated_lab import IsolatedLab
from loadtest.redis_servers import KINDS
from loadtest.storm import CONTROL_FAULTS, Options, Storm
from loadtest.verdict import Bounds, table
from loadtest.writers import MAKING, WAYS

pytestmark = pytest.mark.slow

#: Seconds; wider than what is promised, because other tests share the machine.
BOUNDS = Bounds(partition=4.0, sql=4.0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = IsolatedLab(tmp_path_factory.mktemp("storm"))
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


def run_storm(lab, *, seconds, seed, names, control=False, bulk=True):
    options = Options(
        seconds=seconds,
        clients=10,
        seed=seed,
        faults=names,
        sql=True,
        control=control,
        bulk=bulk,
        bounds=BOUNDS,
    )
    storm = Storm(lab, options)
    verdict = storm.run()
    return verdict, table(verdict, storm.zero)


@pytest.mark.timeout(240)
def test_no_fault_makes_the_cache_break_its_promise(lab):
    verdict, shown = run_storm(lab, seconds=14, seed=1, names=fault_injection.NAMES)
    assert verdict.kept, shown
    assert set(verdict.numbers["faults made"]) == set(fault_injection.NAMES), shown
    # It was a storm, and there was a cache.
    assert verdict.numbers["reads"] > 300, shown
    assert verdict.numbers["writes"] > 100, shown
    assert verdict.numbers["statements that wrote several rows"] > 20, shown
    assert verdict.numbers["hits in percent"] > 5, shown
    assert verdict.numbers["pages read"] > 60, shown


@pytest.mark.timeout(240)
def test_a_strict_storm_shows_nothing_stale():
    """As a command: the docs have it."""
    command = [sys.executable, "-m", "loadtest.storm", "--seconds", "10", "--seed", "1"]
    command += ["--strict", "--json", "--sql-bound", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)["numbers"]
    assert numbers["violations"] == 0
    assert numbers["reads"] > 100


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("servers", "faults"),
    [("sentinel", "lag,clear,cut"), ("cluster", "lag,flush,move,kill-worker,cut")],
)
def test_servers_that_fail_over_show_nothing_stale(servers, faults):
    """As a command: the docs have it."""
    command = [sys.executable, "-m", "loadtest.storm", "--seconds", "8", "--pairs", "--json"]
    # Where no host can have a network of its own, none is cut off.
    made = {*faults.split(",")} & {*fault_injection.names(KINDS[servers])}
    command += ["--redis", servers, "--faults", ",".join(sorted(made))]
    command += ["--bound", "4", "--sql-bound", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {*shown["numbers"]["faults made"]} == made
    assert "NOT" not in "".join(shown["faults"])
    assert "could not be made" not in "".join(shown["faults"])
    numbers = shown["numbers"]
    assert numbers["violations"] == numbers["pages, violations"] == numbers["lost writes"] == 0
    assert numbers["reads"] > 100
    assert numbers["hits in percent"] > 5


@pytest.mark.timeout(240)
def test_without_faults_nothing_is_stale_and_pages_are_cached(lab):
    """Pages that never are could not be stale."""
    verdict, shown = run_storm(lab, seconds=8, seed=2, names=[])
    assert verdict.kept, shown
    assert verdict.numbers["pages, hits in percent"] > 10, shown


@pytest.mark.timeout(240)
def test_the_same_storm_breaks_a_naive_cache(lab):
    found = {"items": False, "pages": False}
    for seed in range(4):
        verdict, _ = run_storm(
            lab, seconds=10, seed=seed, names=CONTROL_FAULTS, control=True, bulk=False
        )
        found["items"] |= bool(verdict.violations)
        found["pages"] |= bool(verdict.of_pages)
        if all(found.values()):
            return
    pytest.fail(f"The storm is too weak: a naive write-through cache survives it: {found}.")


@pytest.mark.timeout(240)
def test_stale_reads_of_rows_that_were_written_in_bulk_are_found(lab):
    """However it was: the control's cache hears of none of these writes."""
    verdict, shown = run_storm(lab, seconds=8, seed=1, names=[], control=True)
    overtaken = {operation.who for v in verdict.violations for operation in v.operations}
    assert overtaken >= set(WAYS.values()), shown
    overtaken = {operation.who for v in verdict.of_pages for operation in v.operations}
    assert overtaken & {*WAYS.values(), *MAKING.values()}, shown
    assert verdict.lost == [], shown
