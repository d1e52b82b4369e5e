"""The planning figures: what is measured, and that the page shows what was measured."""

import json
import re
import subprocess
import sys
from importlib import import_module
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from loadtest.bench.plan import memory, tables
from loadtest.bench.plan.__main__ import PARTS
from loadtest.simulate import plot, sites
from loadtest.simulate.__main__ import PLAN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/plan.md").read_text()

#: How many columns of each table have a stamp.
COUNT_STAMPS = """
import os
os.environ |= {"DATABASE_URL": "postgres://x/x", "REDIS_URL": "redis://x"}
from loadtest.bench.peers import orm
from cachelayer.tracking.tracked_tables import tables_of
for each in tables_of("default"):
    if each.name.startswith("shelf_stamped"):
        print(each.name, sum(prefix.startswith("@") for prefix in each.columns))
"""


def plan(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "loadtest.bench.plan", *arguments],
        capture_output=True,
        text=True,
        env=environment or None,
    )


def test_the_page_shows_what_was_measured():
    """Mend it with ``python -m loadtest.bench.plan.tables loadtest/bench/results/plan.json``."""
    body = json.loads(PLAN.read_bytes())
    assert set(body["parts"]) == set(PARTS)
    made = tables.everything(body).split("\n\n")
    assert len(made) == len(PARTS) + 1
    for table in made:
        assert table in PAGE


def test_no_table_of_the_page_is_made_by_hand():
    made = tables.everything(json.loads(PLAN.read_bytes())).split("\n\n")
    shown = re.findall(r"^\|.*?(?=\n\n|\Z)", PAGE, re.M | re.S)
    assert [table for table in shown if table.strip() not in made] == []


def test_the_plot_of_the_page_is_the_one_that_the_formula_makes(tmp_path):
    """Mend it with ``python -m loadtest.simulate.plot loadtest/bench/results/plan.svg``."""
    plot.draw(tmp_path / "plan.svg")
    made, kept = tmp_path / "plan.svg", PLAN.with_name("plan.svg")
    assert curves(made) == curves(kept)
    words = "".join(ElementTree.parse(made).getroot().itertext())
    assert all(f"skew {skew}" in words for skew in (0.7, 0.9, 1.1))


def curves(drawing):
    """The points of its lines; what else there is depends on matplotlib."""
    text = drawing.read_text()
    found = re.findall(r'<path d="([^"]+)" clip-path', text)
    assert len(found) >= 9
    return [[round(float(number)) for number in re.findall(r"[\d.]+", path)] for path in found]


def test_a_plan_adds_up():
    costs = ((600.0, 30.0, 0.0), (3000.0, 60.0, 120.0), (6000.0, 90.0, 900.0))
    names = ("workers", "redis", "postgres")
    row = {"kind": "row", "json": 330}
    on_cluster = [{"cpu_us": dict(zip(names, each, strict=True))} for each in costs]
    halves = [
        {"cpu_us": {who: us / 2 for who, us in each["cpu_us"].items()}} for each in on_cluster
    ]
    parts = {
        "memory": {"kinds": [row | {"bytes": 480.0}], "many": [row | {"bytes": 500.0}]},
        "rates": halves,
        "cluster": {"rates": on_cluster},
    }
    small = sites.plan(sites.SITES["small"], parts)
    assert small.nodes == 1
    assert small.cores.postgres == pytest.approx((small.forecast.loads * 60 + 2 * 450) / 0.6e6)
    found = sites.plan(sites.SITES["large"], parts)
    loads, hits = found.forecast.loads, 1e6 - found.forecast.loads
    # Ten thousand writes a second; cores are busy for six tenths.
    assert found.cores.workers == pytest.approx((hits * 600 + loads * 3000 + 60e6) / 0.6e6)
    assert found.cores.redis == pytest.approx((hits * 30 + loads * 60 + 0.9e6) / 0.6e6)
    assert found.cores.postgres == pytest.approx((loads * 120 + 9e6) / 0.6e6)
    assert found.site.row_bytes == 500
    assert found.nodes == ceil(found.cores.redis), "cores and not memory decide here"
    lost = hits / found.nodes
    assert found.loads_without_node == pytest.approx(loads + lost)
    more = found.cores_without_node.workers - found.cores.workers
    assert more == pytest.approx(lost * (3000 - 600) / 0.6e6)


def test_what_is_measured_has_the_form_of_what_the_cache_stores():
    key_values = import_module("cachelayer.protocol.key_values")
    by_name = {kind.name: kind for kind in memory.kinds()}
    assert len(by_name["lease"].value) == len(key_values.new_lease())
    assert len(by_name["mark"].value) == len(key_values.new_mark(1_234_567_890))
    assert key_values.is_invalid(by_name["document of 5 stamps"].value.encode())
    stamps = import_module("cachelayer.protocol.stamps")
    head = stamps.sealed(b"{", {f"@shop_author.id:{1_000_000 + n}": memory.STAMP for n in range(5)})
    documents = [kind for kind in memory.kinds() if kind.name == "document of 5 stamps"]
    assert len(documents[0].value) == len(head) - 1 + documents[0].json
    assert stamps._time(memory.STAMP.encode())


def test_a_formula_fits_what_lies_on_a_line():
    found = [
        {"kind": kind, "json": json_bytes, "bytes": 150 + 1.25 * json_bytes}
        for kind in ("row", "document of 5 stamps")
        for json_bytes in memory.SIZES
    ]
    assert memory.formulas(found)["row"] == {"each": 150.0, "of_json": 1.25}


def test_without_memory_for_ten_times_as_many_it_is_extrapolated(monkeypatch):
    available = SimpleNamespace(available=1000)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: available)
    kind = next(each for each in memory.kinds() if each.name == "stamp")
    one = {"kind": "stamp", "json": 0, "keys": 10, "bytes": 180.0, "extrapolated": False}
    found = memory.many(None, kind, 100, [one])
    assert found == {**one, "keys": 100, "extrapolated": True}


def test_without_a_load_generator_it_says_what_to_install():
    done = plan("--part", "rates", PATH="/nowhere")
    assert done.returncode == 2
    assert "apt install wrk" in done.stderr


@pytest.mark.slow
def test_rows_have_as_many_stamps_as_their_names_say():
    command = [sys.executable, "-c", COUNT_STAMPS, "cached"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    wanted = {f"shelf_stamped{n}": str(n) for n in (0, 1, 5, 50)}
    assert found == wanted, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_measures_on_servers_of_its_own(tmp_path):
    # The loads take long.
    loads = ("rates", "cluster")
    parts = [word for part in PARTS if part not in loads for word in ("--part", part)]
    done = plan("--quick", *parts, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    body = json.loads((tmp_path / "plan.json").read_bytes())
    measured = body["parts"]
    assert tables.measured(body) in done.stdout
    rows = [each for each in measured["memory"]["kinds"] if each["kind"] == "row"]
    assert all(row["json"] < row["bytes"] < row["json"] * 1.3 + 250 for row in rows)
    assert [each["stamps"] for each in measured["writes"]] == [0, 1, 5, 50]
    # At least SETTLING_TIME: a reconcile that takes less has not waited for writers.
    reconciles = [each for each in measured["repairs"] if each["name"] in ("reconcile", "loss")]
    assert len(reconciles) == 4
    assert all(each["seconds"] > 0.6 for each in reconciles)
