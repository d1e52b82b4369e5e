"""The hosted workflow and the commit hooks run commands and files that this repository has."""

import itertools
import re
import shlex
import subprocess
import sys
import tomllib

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


def test_the_hooks_are_accepted_by_pre_commit_and_their_programs_are_pinned():
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        cwd=ROOT,
        check=True,
    )
    hooks = [hook for repo in HOOKS for hook in repo["hooks"]]
    assert {repo["repo"] for repo in HOOKS} == {"local"}
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "lint-imports"}
    for hook in hooks:
        program, *_ = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert (ROOT / program).is_file()
