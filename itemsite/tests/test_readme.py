"""Every command of the README's bash blocks is run against a lab, and shows what the text says.

Its sh blocks are run elsewhere: ./lab by this fixture, ./lab test by whoever runs
this, the model by test_model, the storm and its control by test_storm.
"""

import re
import shutil
import subprocess
import sys

import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.running_lab import RunningLab

BLOCKS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
#: What the output of each block shows, in the order of the README.
SHOWS = [
    ["HTTP/1.1 200 OK", "X-Cache: ", "Server-Timing: redis;dur=", '"id":"550e8400'],
    ['"name":"Lamp"', '"price":42.99'],
    ["item:550e8400-e29b-41d4-a716-446655440001", '{"id":"550e8400', "price", "(6 rows)"],
    ['"price":39.99', "total_hits"],
    ['"status": "degraded"', '"redis": "down"', "X-Cache: BYPASS", "200 OK"],
    ["stale 0", "0 differences"],
]

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not shutil.which("curl"), reason="the README's commands need curl"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with RunningLab(tmp_path_factory.mktemp("readme") / "checkout") as lab:
        yield lab.start()


def test_the_readme_says_what_each_block_shows():
    assert len(BLOCKS) == len(SHOWS)


@pytest.mark.parametrize("number", range(len(SHOWS)))
def test_the_block_shows_what_the_readme_says(lab, number):
    python = f"'{sys.executable}'"
    script = (
        BLOCKS[number]
        .replace("127.0.0.1:8000", f"127.0.0.1:{lab.port}")
        # This first: the interpreter's own path may contain it.
        .replace(".venv/bin/python", python)
        .replace("./lab ", f"{python} -m itemsite.lab ")
        .replace("--seconds 15", f"--seconds 3 --url http://127.0.0.1:{lab.port}")
    )
    ran = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=lab.root,
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert [text for text in SHOWS[number] if text not in ran.stdout] == [], ran.stdout
