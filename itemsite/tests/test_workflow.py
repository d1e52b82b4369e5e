"""The hosted workflow and the commit hooks run commands and files that this repository has."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from itemsite.lab import cli
from itemsite.lab.bootstrap import _REQUIREMENTS, ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
COMMANDS = [
    pytest.param(name, step, id=f"{name}: {step['run']}")
    for name, job in JOBS.items()
    for step in job["steps"]
    if "run" in step
]
#: Where the programs of requirements-test.txt are: .venv/bin, but not in a container.
BIN = Path(sys.executable).parent
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def tox_environments():
    """As pyproject.toml lists them; a product stands for all combinations of its factors."""
    tox = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["tox"]
    listed = []
    for each in tox["env_list"]:
        parts = [[each]] if isinstance(each, str) else each["product"]
        listed += map("-".join, itertools.product(*parts))
    return listed


@pytest.mark.parametrize(("job", "step"), COMMANDS)
def test_each_command_exists(job, step):
    lines = step["run"].splitlines()
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        assert (ROOT / program).is_file(), f"{program} is no file of this repository"
        assert (ROOT / program).stat().st_mode & 0o100, f"{program} is not executable"
        if program == "./lab":
            assert arguments[0] in cli._COMMANDS
            assert arguments[0] in _REQUIREMENTS or arguments[0] == "docs"


@pytest.mark.parametrize(("job", "step"), COMMANDS)
def test_what_a_command_takes_from_the_matrix_is_there(job, step):
    matrix = JOBS[job].get("strategy", {}).get("matrix", {})
    known = {*matrix, *(name for each in matrix.get("include", []) for name in each)} - {"include"}
    assert set(re.findall(r"\$\{\{ *matrix\.(\w+)", step["run"])) <= known


def test_every_environment_of_tox_has_a_job():
    environments = tox_environments()
    assert "core" in environments
    assert JOBS["versions"]["strategy"]["matrix"]["tox"] == environments


def test_a_python_that_is_missing_fails_its_job():
    [command] = [step["run"] for step in JOBS["versions"]["steps"] if "run" in step]
    assert "--skip-missing-interpreters false" in command


def test_every_supported_server_is_tried():
    pairs = JOBS["servers"]["strategy"]["matrix"]["include"]
    assert {pair["postgres"] for pair in pairs} == {f"postgres:{n}" for n in range(14, 19)}
    redis = {pair["redis"].rpartition(".")[0] or pair["redis"] for pair in pairs}
    assert redis == {"redis:6", "redis:7", "redis:8", "valkey/valkey:8"}
    images = {service["image"] for service in JOBS["servers"]["services"].values()}
    assert images == {"${{ matrix.postgres }}", "${{ matrix.redis }}"}


@pytest.mark.parametrize("name", JOBS)
def test_no_job_runs_for_hours(name):
    assert JOBS[name]["timeout-minutes"] <= 60


def test_the_workflow_is_what_its_host_reads():
    """Keys, types and events, by the schema in the package check-jsonschema."""
    command = (BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    ran = subprocess.run([*command, ".github/workflows/ci.yml"], cwd=ROOT, capture_output=True)
    assert ran.returncode == 0, ran.stdout


def test_hooks_run_what_the_tests_pin_and_nothing_is_downloaded():
    assert {repo["repo"] for repo in HOOKS} == {"local"}
    for hook in (hook for repo in HOOKS for hook in repo["hooks"]):
        assert hook["language"] == "system"
        program, *_ = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert (BIN / Path(program).name).is_file()


CONTRACT = """
[tool.importlinter]
root_package = "shop"
[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
layers = ["shop.views", "shop.models"]
"""
WORKFLOW_FILE = ".github/workflows/other.yml"
GOOD = {
    "pyproject.toml": CONTRACT,
    "shop/__init__.py": "",
    "shop/models.py": "",
    "shop/views.py": 'from shop import models\n\n__all__ = ["models"]\n',
    "notes.md": "A line.\n",
    "compose.yml": "services: {}\n",
    WORKFLOW_FILE: "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: ./lab}]}}\n",
}


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """What the hooks say of a repository that has these files: the outcome of each, by its id."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    shutil.copy(ROOT / ".pre-commit-config.yaml", folder)
    environment = {**os.environ, "PRE_COMMIT_HOME": str(folder.with_suffix(".cache"))}
    subprocess.run(["git", "init", "--quiet", folder], check=True)

    def run(files):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        subprocess.run(["git", "add", *files], cwd=folder, check=True)
        command = [BIN / "pre-commit", "run", "--all-files", "--verbose", "--color=never"]
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )
        found = re.findall(r"(Passed|Failed|Skipped)\n- hook id: (\S+)", ran.stdout)
        assert found, ran.stdout + ran.stderr
        return {hook: outcome for outcome, hook in found}

    return run


#: Of each hook, a file that it must refuse.
REFUSED = {
    "ruff-check": ("shop/models.py", "import os\n"),
    "ruff-format": ("shop/models.py", "NUMBER  = 1\n"),
    "lint-imports": ("shop/models.py", "from shop import views\n"),
    "end-of-file-fixer": ("notes.md", "A line."),
    "check-yaml": ("compose.yml", "services: [\n"),
    "check-workflows": (WORKFLOW_FILE, "on: push\njobs: {a: {steps: []}}\n"),
}


@pytest.mark.parametrize("hook", REFUSED)
def test_a_hook_refuses_what_it_is_for(committed, hook):
    file, text = REFUSED[hook]
    assert committed({**GOOD, file: text})[hook] == "Failed"


def test_a_good_commit_passes_every_hook(committed):
    hooks = {hook["id"] for repo in HOOKS for hook in repo["hooks"]}
    assert committed(GOOD) == dict.fromkeys(hooks, "Passed")
    assert set(REFUSED) == hooks
