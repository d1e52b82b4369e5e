"""Every block of RUNBOOK.md is run, in order, and shows what the sentence after it says.

Blocks that say ``docker compose`` or ask Jaeger are run against the stack (with
``--compose``), blocks that say ``./lab`` against a lab, all others against both. What
must be in the output stands in backticks in the paragraph that begins "You should see".
"""

import json
import re
import shutil
import sys
import threading
from dataclasses import dataclass, replace

import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.compose_stack import Stack, skip_unless_possible
from itemsite.tests.running_lab import RunningLab
from itemsite.tests.terminal import type_in

TEXT = (ROOT / "RUNBOOK.md").read_text()
#: The machine may be busy, other clients may be faster: a block is tried again.
ATTEMPTS = 4
TIMEOUT = 900.0
#: The lab's own, not those under test.
SETTINGS = {"DJANGO_SETTINGS_MODULE": "itemsite.settings"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(ATTEMPTS * TIMEOUT),
    pytest.mark.skipif(not shutil.which("curl"), reason="the runbook's commands need curl"),
]


@dataclass(frozen=True)
class Block:
    options: dict[str, str]
    script: str
    sentence: str

    @property
    def name(self) -> str:
        return self.options["name"]

    @property
    def shows(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.sentence)

    @property
    def in_background(self) -> bool:
        return self.options.get("background") == "true"


BLOCKS = [
    Block(json.loads(options), script, sentence)
    for options, script, sentence in re.findall(
        r"^```bash (\{.*?\})\n(.*?)^```\n\n(.*?)(?:\n\n|\Z)", TEXT, re.M | re.S
    )
]
# Troubleshooting comes after it on the page, and is for a lab that is still there.
BLOCKS.sort(key=lambda block: block.name.startswith("clean-up"))
WITH_DOCKER = [block for block in BLOCKS if "./lab" not in block.script]
#: What only the stack has: the engine's commands, and other ports than the API's.
ONLY_DOCKER = re.compile(r"docker compose|localhost:(?!8000)")
WITHOUT_DOCKER = [block for block in BLOCKS if not ONLY_DOCKER.search(block.script)]


def shown_as_said(block, run):
    """Run *block* until it succeeds and shows everything that its sentence says."""
    for attempt in range(ATTEMPTS):
        if attempt:
            threading.Event().wait(5)
        typed = run(block.script)
        missing = [word for word in block.shows if word not in typed.shown]
        if typed.code == 0 and not missing:
            return
    pytest.fail(f"{block.name}: exit code {typed.code}, no {missing} in\n{typed.shown}")


def test_every_block_is_named_and_says_what_you_should_see():
    assert TEXT.count("\n```bash") == len(BLOCKS)
    assert len({block.name for block in BLOCKS}) == len(BLOCKS)
    for block in BLOCKS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", block.name)
        assert block.sentence.startswith("You should see "), block.name
        assert block.shows, block.name
        assert block in WITH_DOCKER or block in WITHOUT_DOCKER, "it says both: who could run it?"


@pytest.mark.parametrize(
    "command",
    [
        "docker compose up --build -d",
        "docker compose exec redis redis-cli ping",
        'docker compose exec redis redis-cli keys "item:*"',
        "docker compose exec postgres pg_isready -U labuser -d items_db",
        "docker compose exec postgres psql -U labuser -d items_db "
        '-c "SELECT id, name, price FROM items LIMIT 10;"',
        "docker compose stop redis",
        "curl -s localhost:8000/health",
        "docker compose start redis",
        "docker compose logs api --tail=50",
        "docker compose run --rm k6 run /scripts/basic.js",
        "docker compose down -v",
    ],
)
def test_what_must_work_as_typed_is_in_a_block(command):
    assert any(command in block.script.splitlines() for block in BLOCKS)


class TestWithoutDocker:
    @pytest.fixture(scope="class")
    def lab(self, tmp_path_factory):
        with RunningLab(tmp_path_factory.mktemp("runbook") / "checkout") as lab:
            yield lab.start(**SETTINGS)

    @pytest.mark.parametrize("block", WITHOUT_DOCKER, ids=lambda block: block.name)
    def test_it_shows_what_the_runbook_says(self, lab, block):
        if block.in_background:
            assert block.script == "./lab\n", "the lab is all that a test keeps running"
            assert [word for word in block.shows if word not in lab.said] == [], lab.said
            return
        python = f"'{sys.executable}'"

        def run(script):
            script = script.replace("localhost:8000", f"127.0.0.1:{lab.port}")
            script = script.replace(".venv/bin/python", python)
            script = script.replace(
                "--seconds 15", f"--seconds 3 --url http://127.0.0.1:{lab.port}"
            )
            script = script.replace("./lab ", f"{python} -m itemsite.lab ")
            typed = type_in(script, cwd=lab.root, env={**lab.environment, **SETTINGS})
            return replace(
                typed, shown=typed.shown.replace(f"127.0.0.1:{lab.port}", "localhost:8000")
            )

        shown_as_said(block, run)


class TestWithDocker:
    @pytest.fixture(scope="class")
    def stack(self, request):
        skip_unless_possible(request)
        stack = Stack()
        try:
            yield stack
        finally:
            stack.type("docker compose down -v --remove-orphans")

    @pytest.mark.parametrize("block", WITH_DOCKER, ids=lambda block: block.name)
    def test_it_shows_what_the_runbook_says(self, stack, block):
        if "run --rm k6" in block.script and stack.type("docker compose run --rm k6 version").code:
            pytest.skip("the image of k6 does not run here")
        shown_as_said(block, lambda script: stack.type(script, TIMEOUT))
