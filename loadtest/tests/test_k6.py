"""The k6 script against a real site: k6's modules are stood in for, what they talk to is not."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from loadtest.isolated_lab import free_port
from loadtest.tests.stale_api import stale_api

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not shutil.which("node"),
        reason="There is no node on PATH. Install Node.js 20 or newer to test the k6 script.",
    ),
]

SCRIPT = Path(__file__).resolve().parents[1] / "basic.js"
RUNNER = Path(__file__).resolve().parent / "k6" / "run.mjs"


def run(url, iterations, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["node", "--no-warnings", str(RUNNER), str(SCRIPT), str(iterations)],
        env={**kept, "BASE_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def ran(site, tmp_path_factory):
    """300 iterations; the rows that were there before."""
    before = {item["id"] for item in site.items()}
    file = tmp_path_factory.mktemp("k6") / "summary.json"
    done = run(site.url, 300, SUMMARY=str(file))
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "before": before, "file": str(file)}


def test_every_check_passes(ran):
    assert [name for name, seen in ran["checks"].items() if seen["fails"]] == []
    assert len(ran["checks"]) == 8
    assert ran["checks"]["reads its own write"]["passes"] > 5


def test_every_persona_does_its_part_under_names_that_group_urls(ran):
    assert {
        "GET /items/[id]",
        "GET /items?limit=[n]",
        "POST /items",
        "PATCH /items/[id]",
        "PUT /items/[id]",
        "DELETE /items/[id]",
    } <= set(ran["names"])


def test_reads_are_told_apart_by_x_cache_and_writes_by_themselves(ran):
    metrics = ran["metrics"]
    assert metrics["hit_duration"]["values"]["count"] > 100
    assert metrics["write_duration"]["values"]["count"] > 30
    assert metrics["list_duration"]["values"]["count"] > 30
    assert metrics["hit_rate"]["values"]["rate"] > 0.5
    assert metrics["reads_own_write"]["values"]["rate"] == 1
    assert metrics["stale_reads"]["values"]["count"] == 0
    assert metrics["http_req_failed"]["values"]["rate"] == 0


def test_thresholds_are_on_metrics_that_are_there(ran):
    # The runner has refused any that k6 would not know.
    for name in ran["options"]["thresholds"]:
        assert ran["metrics"][name]["thresholds"], name


def test_the_summary_has_the_percentiles_of_hits_and_writes(ran):
    lines = {
        line.split()[0]: line for line in ran["summary"]["stdout"].splitlines() if line.split()
    }
    for name in ("hit", "write"):
        values = ran["metrics"][f"{name}_duration"]["values"]
        assert str(values["count"]) in lines[name]
        for stat in ("med", "p(95)", "p(99)"):
            assert f"{values[stat]:.1f} ms" in lines[name]
    assert json.loads(ran["summary"][ran["file"]])["metrics"] == ran["metrics"]


def test_it_leaves_no_row_behind(ran, site):
    assert {item["id"] for item in site.items()} == ran["before"]


def test_the_load_grows_holds_and_ends(ran):
    [scenario] = ran["options"]["scenarios"].values()
    assert scenario["executor"] == "ramping-vus"
    assert [stage["target"] for stage in scenario["stages"]] == [20, 20, 0]


def test_a_stale_read_breaks_its_thresholds():
    with stale_api() as url:
        done = run(url, 100)
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert ran["metrics"]["reads_own_write"]["values"]["rate"] == 0
    [line] = [x for x in ran["summary"]["stdout"].splitlines() if "thresholds broken" in x]
    assert "reads_own_write" in line
    assert "stale_reads" in line


def test_without_an_api_it_says_so():
    url = f"http://127.0.0.1:{free_port()}"
    done = run(url, 1)
    assert done.returncode == 1
    assert f"{url}/health answers 0: is the API at BASE_URL?" in done.stderr
