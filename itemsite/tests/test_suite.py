"""./lab test says how long it takes, and each of its workers has separate servers."""

import json
import os
import subprocess
import sys

import pytest

from itemsite.environment import WORKERS, take_servers_of_worker
from itemsite.lab import suite, worker
from itemsite.lab.bootstrap import ROOT

SERVERS = [{"DATABASE_URL": f"postgres://{n}", "REDIS_URL": f"redis://{n}"} for n in range(3)]


@pytest.fixture
def started(monkeypatch):
    """What would be run, on how many servers, without running it."""
    commands = []

    def on_servers(act, workers):
        commands.append(workers)
        return act(ROOT, {})

    monkeypatch.setattr(suite, "_on_servers", on_servers)
    monkeypatch.setattr(suite, "_run", lambda arguments, *_: commands.append(arguments) or 0)
    return commands


def test_without_arguments_the_slow_tests_are_left_out_and_that_is_said_first(started, capsys):
    assert suite.run([]) == 0
    assert capsys.readouterr().out.startswith(
        f"lab: About {suite.MINUTES} minutes on 2 cores, without the slow tests"
    )
    workers, *checks, tests = started
    assert workers > 1
    assert len(checks) == len(suite._CHECKS)
    assert f"-n{workers}" in tests
    assert tests[-2:] == ["-m", "not slow"]


def test_with_all_none_is_left_out(started, capsys):
    assert suite.run(["--all"]) == 0
    assert capsys.readouterr().out.startswith(f"lab: About {suite.ALL_MINUTES} minutes on 2 cores")
    workers, *checks, tests = started
    assert workers > 1
    assert len(checks) == len(suite._CHECKS)
    assert "not slow" not in tests


def test_with_all_pytest_takes_more_arguments(started):
    assert suite.run(["-q", "--all", "--tb=short"]) == 0
    assert started[-1][-2:] == ["-q", "--tb=short"]
    assert "--all" not in started[-1]


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        (["-x", "items"], 1),
        (["-k", "redis", "-n", "3"], 3),
        (["-n3"], 3),
        (["--numprocesses=3", "items"], 3),
        (["-n", "auto"], os.cpu_count()),
        (["-n0", "items"], 1),
    ],
)
def test_with_arguments_only_pytest_is_run_with_these(started, arguments, workers):
    assert suite.run(arguments) == 0
    servers, tests = started
    assert servers == workers
    assert tests[-len(arguments) :] == arguments


def test_a_failed_check_fails_the_run_and_is_named_last(started, capsys, monkeypatch):
    monkeypatch.setattr(suite, "_run", lambda arguments, *_: int("mypy" in arguments))
    assert suite.run([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Failed before pytest: mypy; see above."


def test_each_worker_takes_servers_of_its_own():
    for number, servers in enumerate(SERVERS):
        environ = {WORKERS: json.dumps(SERVERS), "PYTEST_XDIST_WORKER": f"gw{number}"}
        take_servers_of_worker(environ)
        assert environ.items() >= servers.items()


def test_without_workers_the_servers_are_those_of_the_environment():
    environ = {WORKERS: json.dumps(SERVERS), "DATABASE_URL": "postgres://0"}
    take_servers_of_worker(environ)
    assert environ["DATABASE_URL"] == "postgres://0"


@pytest.mark.parametrize("path", worker.LONGEST)
def test_the_files_that_begin_first_are_there(path):
    assert (ROOT / path).exists()


def test_workers_of_a_run_have_their_servers_before_anything_is_imported(tmp_path):
    """A whole run: in each worker one test, which waits until the other has begun."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, other in [("a", "b"), ("b", "a")]:
        (tmp_path / f"test_{name}.py").write_text(
            f"""
import os, pathlib, time
AT_IMPORT = os.environ["REDIS_URL"]
def test_it():
    here = pathlib.Path(__file__).parent
    (here / "{name}").write_text(AT_IMPORT)
    while not (here / "{other}").exists():
        time.sleep(0.01)
"""
        )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "DJANGO_"))}
    command = [sys.executable, "-m", "pytest", "-p", "itemsite.lab.worker", "-p", "no:django"]
    ran = subprocess.run(
        [*command, "-n2", "--dist=loadfile", "--no-loadscope-reorder", f"--rootdir={tmp_path}"],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT), WORKERS: json.dumps(SERVERS)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    seen = {(tmp_path / name).read_text() for name in "ab"}
    assert seen == {"redis://0", "redis://1"}
