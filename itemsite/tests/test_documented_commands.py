"""Every command of the README and the docs is run, and shows what the text says.

``bash`` blocks are run here against a lab, in order; the words in backticks after "You should see"
must be in their output. ``sh`` blocks are run by the tests that are named here, and the python
and the ``sh`` block of "Adopt it in your project" by test_adoption.
"""

import shutil
import subprocess
import sys
import time

import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.documented import DOCS, PAGES, README, blocks
from itemsite.tests.running_lab import RunningLab

TUTORIAL = DOCS / "tutorial" / "lab.md"
#: By test_scale, which needs Docker.
SCALE = DOCS / "tutorial" / "scale.md"
ADOPTION = DOCS / "how-to" / "adopt.md"
BLOCKS = [*blocks(TUTORIAL, "bash"), *blocks(README, "bash")]
#: The machine may be busy, so that Redis answers late and a hit becomes a bypass: tried again.
ATTEMPTS = 4
#: The lab's own, not those under test: its requests are traced.
SETTINGS = {"DJANGO_SETTINGS_MODULE": "itemsite.settings"}
STORM = ".venv/bin/python -m loadtest.storm --seconds 3600 --seed 1"
#: Each command of a sh block: the test that runs it, and how it is written there.
RUN_ELSEWHERE = {
    "./lab": ("itemsite/tests/test_lab.py", "RunningLab"),
    "./lab test": ("itemsite/tests/test_suite.py", "suite.run([])"),
    "docker compose up --build -d": ("RUNBOOK.md", "docker compose up --build -d"),
    "./lab test */tests/bench_*.py": ("itemsite/tests/test_benchmarks.py", "*/tests/bench_*.py"),
    ".venv/bin/python -m cachelayer.spec.check": (
        "cachelayer/tests/test_model.py",
        "check.check(",
    ),
    f"{STORM} --pairs": ("loadtest/tests/test_storm.py", '"--pairs"'),
    f"{STORM} --pairs --strict": ("loadtest/tests/test_storm.py", '"--strict"'),
    f"{STORM} --pairs --redis sentinel": ("loadtest/tests/test_storm.py", '"sentinel"'),
    f"{STORM} --pairs --redis cluster": ("loadtest/tests/test_storm.py", '"cluster"'),
    ".venv/bin/python -m loadtest.storm --seconds 60 --seed 1 --control": (
        "loadtest/tests/test_storm.py",
        "control=True",
    ),
    "python manage.py cache_settings --acl": ("cachelayer/tests/test_commands.py", '"--acl"'),
    ".venv/bin/python -m loadtest.bench": ("loadtest/tests/test_bench.py", '"loadtest.bench"'),
    ".venv/bin/python -m loadtest.bench --row documents": (
        "loadtest/tests/test_bench.py",
        '"documents"',
    ),
    ".venv/bin/python -m loadtest.bench.markdown loadtest/bench/results/bench.json": (
        "loadtest/tests/test_bench.py",
        "markdown.tables(",
    ),
    ".venv/bin/python -m loadtest.bench.plan": (
        "loadtest/tests/test_plan.py",
        '"loadtest.bench.plan"',
    ),
    ".venv/bin/python -m loadtest.bench.plan.tables loadtest/bench/results/plan.json": (
        "loadtest/tests/test_plan.py",
        "tables.everything(",
    ),
    ".venv/bin/python -m loadtest.simulate --rows 1e6 --reads 2000 --writes 20 --memory 1GB": (
        "loadtest/tests/test_simulate_command.py",
        '"--rows 1e6 --reads 2000 --writes 20 --memory 1GB"',
    ),
    ".venv/bin/python -m loadtest.simulate --rows 20000 --reads 500 --memory 10MB --events": (
        "loadtest/tests/test_simulate_command.py",
        '"--rows 20000 --reads 500 --memory 10MB --events"',
    ),
    ".venv/bin/python -m loadtest.simulate --check": (
        "loadtest/tests/test_simulate.py",
        "check.check()",
    ),
    ".venv/bin/python -m loadtest.simulate --sites": (
        "loadtest/tests/test_simulate_command.py",
        '"--sites"',
    ),
    ".venv/bin/python -m loadtest.simulate.plot loadtest/bench/results/plan.svg": (
        "loadtest/tests/test_plan.py",
        "plot.draw(",
    ),
}


def test_every_command_is_run_by_a_test():
    shell = [block for path in (README, *PAGES) for block in blocks(path, "sh")]
    followed = blocks(ADOPTION, "sh")
    commands = {line for block in shell if block not in followed for line in _lines(block)}
    assert commands == set(RUN_ELSEWHERE)


@pytest.mark.parametrize("command", RUN_ELSEWHERE)
def test_what_runs_it_is_there(command):
    path, words = RUN_ELSEWHERE[command]
    assert words in (ROOT / path).read_text()


def test_blocks_for_a_lab_are_where_they_are_run():
    found = {path for path in (README, *PAGES) if blocks(path, "bash")}
    assert found == {README, TUTORIAL, SCALE}


def test_every_block_says_what_you_should_see():
    for block in BLOCKS:
        assert block.sentence.startswith("You should see "), block
        assert block.shows, block


def _lines(block):
    return block.script.splitlines()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with RunningLab(tmp_path_factory.mktemp("documented") / "checkout") as lab:
        yield lab.start(**SETTINGS)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("curl"), reason="the commands need curl")
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_the_block_shows_what_the_page_says(lab, block):
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(3)
        ran = run(block.script, lab)
        missing = [text for text in block.shows if text not in ran.stdout]
        if ran.returncode == 0 and not missing:
            return
    pytest.fail(f"exit code {ran.returncode}, no {missing} in\n{ran.stdout}{ran.stderr}")


def run(script, lab):
    python = f"'{sys.executable}'"
    script = (
        script.replace("127.0.0.1:8000", f"127.0.0.1:{lab.port}")
        # This first: the interpreter's own path may contain it.
        .replace(".venv/bin/python", python)
        .replace("./lab ", f"{python} -m itemsite.lab ")
        .replace("--seconds 15", f"--seconds 3 --url http://127.0.0.1:{lab.port}")
    )
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=lab.root,
        env={**lab.environment, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=120,
    )
