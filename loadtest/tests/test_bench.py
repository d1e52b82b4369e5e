"""The benchmark measures what it says, and says what it lacks."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest.bench import documents, markdown, plot, report
from loadtest.bench.cpu import Account
from loadtest.bench.outcome import Outcome, of_rates, of_seconds
from loadtest.bench.staleness import History

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ninput()"

#: Of how many columns the rows of films, and those of plays, have stamps.
COUNT_STAMPS = """
import os
os.environ |= {"DATABASE_URL": "postgres://x/x", "REDIS_URL": "redis://x"}
from loadtest.bench.peers import orm
from cachelayer.tracking.tracked_tables import tables_of
for each in tables_of("default"):
    if each.name in ("shelf_film", "shelf_play"):
        print(sum(prefix.startswith("@") for prefix in each.columns))
"""


def bench(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *arguments],
        capture_output=True,
        text=True,
        env=environment or None,
    )


def test_without_a_load_generator_it_says_what_to_install():
    done = bench(PATH="/nowhere")
    assert done.returncode == 2
    assert "apt install wrk" in done.stdout + done.stderr


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_the_pairs():
    outcome = of_rates("hit", "a / b", 1.0, [100, 300, 200], [100, 100, 400])
    assert outcome.value == 2.0
    assert outcome.spread == (0.5, 3.0)
    assert outcome.met


def test_of_seconds_the_smaller_ratio_is_the_better():
    outcome = of_seconds("orm", "a / b", 1.6, [0.003, 0.001, 0.002], [0.001, 0.001, 0.004])
    assert (outcome.value, outcome.met) == (2.0, False)
    assert outcome.spread == (0.5, 3.0)
    table = markdown.tables({"rows": [{**asdict(outcome), "met": outcome.met}], "servers": []})
    assert "| a / b | 2.00, **missed** | ≤ 1.6 | 2 / 1 ms |" in table


@pytest.mark.parametrize(
    ("value", "goal", "at_least", "met", "share"),
    [(3.0, 2.0, True, True, 1.5), (1.0, 2.0, True, False, 0.5), (4.0, 2.0, False, False, 0.5)],
)
def test_a_goal_is_a_floor_or_a_ceiling(value, goal, at_least, met, share):
    outcome = Outcome("row", "what", value, goal, at_least)
    assert (outcome.met, outcome.share) == (met, share)


def test_where_none_may_be_none_just_meets_the_goal():
    none, one = (Outcome("row", "what", value, 0, at_least=False) for value in (0, 1))
    assert (none.met, none.share) == (True, 1.0)
    assert (one.met, one.share) == (False, 0.0)


@pytest.mark.parametrize(
    ("value", "began", "ended", "age"),
    [
        pytest.param(0, 5, 30, 0, id="the read began before the first was acknowledged"),
        pytest.param(1, 5, 30, 0, id="and ended after it began"),
        pytest.param(0, 25, 26, 5, id="five after the first was acknowledged"),
        pytest.param(1, 25, 26, 0, id="between two writes"),
        pytest.param(2, 35, 36, 0, id="the second is being written"),
        pytest.param(0, 45, 46, 25, id="two versions too old"),
        pytest.param(2, 45, 46, 0, id="the last"),
    ],
)
def test_a_read_is_stale_that_shows_less_than_was_acknowledged_before_it(value, began, ended, age):
    history = History()
    history.add([("author 1", 1, 10, 20), ("author 1", 2, 30, 40)])
    assert history.age("author 1", value, began, ended) == age


def test_a_version_that_nobody_has_written_is_a_fault_of_the_measurement():
    with pytest.raises(RuntimeError, match="nobody had written"):
        History().age("author 1", 1, 5, 6)


def test_an_account_has_the_time_of_a_process_since_it_was_opened():
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        account = Account({"burner": [process.pid], "idle": []})
        process.stdout.readline()
        spent = account.per_request(10)
        assert spent["burner"] >= 20_000, "0.3 s, less the first ticks, for each of ten"
        assert spent["idle"] == 0
        assert spent["generator"] == 0, "it has not ended"
        assert Account({"burner": [process.pid]}).per_request(10)["burner"] < 20_000
        process.communicate(b"\n")
    assert account.per_request(10)["generator"] >= 20_000


def bars_of(drawing):
    """What the colour of each bar says: met, missed or other."""
    names = {colour: name for name, colour in plot.COLOURS.items()}
    fills = re.findall(r"fill: (#\w{6})", drawing.read_text())
    return [names[colour] for colour in fills if colour in names]


def text_of(drawing):
    return "".join(ElementTree.parse(drawing).getroot().itertext())


def test_the_plots_are_svg_with_a_bar_for_each_row(tmp_path):
    outcomes = [Outcome("a", "hit <fast>", 2.0, 1.0), Outcome("b", "miss", 0.1, 1.0)]
    points = [{"x": x, "rate": 10.0 * x, "p99_ms": 1.0} for x in (1, 10)]
    report.write(tmp_path, outcomes, {"clients": points}, [], {})
    assert bars_of(tmp_path / "goals.svg") == ["met", "missed"]
    assert "hit <fast>" in text_of(tmp_path / "goals.svg")
    assert "clients: hits/s" in text_of(tmp_path / "scaling.svg")


def of_documents(title="theirs <2>", stale=3):
    """An outcome of the row ``documents``, with two ways under one load."""
    way = {"way": "theirs", "title": title, "reads": 1000, "stale": stale, "longest_ms": 20.0}
    way |= {"left": 1, "hit_rate": 0.5, "queries_of_a_read": 1.5, "write_ms": 4.0}
    way |= {"held_up": "stale", "reads_per_s": 100.0, "writes_per_s": 4.0}
    ours = {**way, "way": "cachelayer", "title": "ours", "stale": 0, "left": 0, "held_up": "fresh"}
    load = {"load": "calm", "what": "4 writes a second", "ways": [ours, way]}
    figures = {"loads": [load], "left_out": {"other": "it is not installed"}}
    return Outcome("documents", "stale reads", 0, 0, at_least=False, figures=figures)


def test_ways_to_serve_documents_are_drawn_and_put_into_a_table(tmp_path, capsys):
    outcome = of_documents()
    report.write(tmp_path, [outcome], {}, [], {})
    assert (
        sorted(bars_of(tmp_path / "documents.svg")) == ["met"] * 3 + ["missed"] * 2 + ["other"] * 3
    )
    table = markdown.tables(json.loads((tmp_path / "bench.json").read_bytes()))
    assert "| ours | 0 of 1,000 |  | 0 | fresh | 50.0% | 1.50 | 100 | 4 | 4.0 |" in table
    report.show_documents([outcome])
    said = capsys.readouterr().out
    assert "3 of 1,000" in said
    assert "other was not measured: it is not installed" in said


def test_the_results_are_written_for_people_and_programs(tmp_path, capsys):
    cpu = {"workers": 300.0, "postgres": 0.0, "redis": 30.0}
    outcome = of_rates(
        *("hit", "hit / bare", 1.0, [100.0], [80.0]), peer="bare", cpu_us=cpu, cpu_us_of_base=cpu
    )
    servers = [{"x": "2 threads", "rates": {"hits": (4000.0, 9.0)}}]
    report.write(tmp_path, [outcome], {}, servers, {})
    report.show([outcome])
    report.show_cpu([outcome])
    report.show_servers(servers)
    said = capsys.readouterr().out
    assert "1.25 times" in said
    assert "4,000 (9)" in said
    [row] = json.loads((tmp_path / "bench.json").read_bytes())["rows"]
    assert row["met"]
    assert (tmp_path / "goals.svg").exists()


def test_the_docs_show_what_was_measured():
    measured = json.loads((ROOT / "loadtest/bench/results/bench.json").read_bytes())
    pages = [ROOT / "docs/explanation" / name for name in ("benchmarks.md", "comparison.md")]
    shown = "".join(page.read_text() for page in pages)
    for table in markdown.tables(measured).split("\n\n"):
        assert table in shown


@pytest.mark.timeout(400)
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_it_measures_rows_on_servers_of_its_own(tmp_path):
    rows = ("--row", "hit", "--row", "page", "--row", "page_changed")
    done = bench(*rows, "--quick", "--repeats", "1", "--seconds", "1", "--out", str(tmp_path))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    measured = json.loads((tmp_path / "bench.json").read_bytes())
    hit, page, changed = measured["rows"]
    assert hit["row"] == "hit"
    assert hit["value"] > 0
    assert hit["figures"]["cpu_us"]["workers"] > hit["figures"]["cpu_us"]["postgres"]
    assert (page["row"], page["goal"]) == ("page", 10)
    assert page["figures"]["shares"]["hits"] >= 0.95
    assert (changed["row"], changed["goal"]) == ("page_changed", 3)
    assert changed["figures"]["shares"]["hits"] <= 0.05
    assert page["figures"]["median"] > changed["figures"]["median"]
    assert "| 50-row page, changed since / plain ListAPIView | " in markdown.tables(measured)


@pytest.mark.timeout(400)
def test_it_measures_the_orm_and_stamps_in_databases_of_their_own(tmp_path):
    rows = ("--row", "orm", "--row", "stamps")
    done = bench(*rows, "--quick", "--repeats", "1", "--out", str(tmp_path))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    measured = json.loads((tmp_path / "bench.json").read_bytes())
    goals = [(row["row"], row["goal"]) for row in measured["rows"]]
    assert goals == [("orm", 1.6), ("orm", 2), ("orm", 2), ("stamps", 0.8), ("stamps", 0.9)]
    *writes, hit, shown = measured["rows"]
    assert all(row["value"] > 0.5 for row in writes), "to mark makes no write twice as fast"
    assert 0.1 < hit["value"] < 1.2, "to compare stamps makes no hit faster"
    assert shown["value"] > 0.3
    assert "| update() of a row with 5 stamps / with none | " in markdown.tables(measured)


def test_of_the_models_whose_stamps_are_measured_one_has_five_and_one_none():
    command = [sys.executable, "-c", COUNT_STAMPS, "cached"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["5", "0"], done.stderr


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    bool(documents.missing()),
    reason="django-cacheops and django-cachalot are not installed (requirements-load.txt)",
)
def test_it_measures_documents_beside_other_caches(tmp_path):
    arguments = ("--quick", "--repeats", "1", "--seconds", "1", "--out", str(tmp_path))
    done = bench("--row", "documents", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = json.loads((tmp_path / "bench.json").read_bytes())["rows"]
    assert row["value"] == 0, "this project's stale reads"
    assert row["figures"]["left_out"] == {}
    for load in row["figures"]["loads"]:
        ways = {way["way"]: way for way in load["ways"]}
        assert set(ways) == {way.name for way in documents.QUICK}
        assert all(way["reads"] and way["writes_per_s"] for way in ways.values())
        held_up = {name: way["held_up"] for name, way in ways.items()}
        assert held_up["cachelayer"] == held_up["plain"] == "fresh"
        assert "stale" in held_up.values(), "a measurement that finds nothing proves nothing"
        assert (ways["plain"]["hit_rate"], ways["plain"]["stale"]) == (0, 0)
    assert (tmp_path / "documents.svg").exists()
