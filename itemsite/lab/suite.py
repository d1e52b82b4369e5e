"""``./lab test``: the test suite on separate servers; ``./lab versions``: by tox.

``./lab servers``: the tests of ``cachelayer`` on given servers.
"""

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from itemsite.environment import WORKERS, for_child, pyenv_root
from itemsite.lab import given_servers, postgres, redis_binary
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.interrupts import Interrupted, ignore_interrupts, raise_on_interrupts
from itemsite.lab.keeper import Keeper
from itemsite.lab.ports import free_port
from itemsite.lab.postgres import Postgres
from itemsite.lab.process import RECORD, Record, stop_recorded
from itemsite.lab.progress import Progress, say
from itemsite.lab.redis_server import Redis

_CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format --check": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy", "."],
    "lint-imports": [
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ],
}
# The caller's shell may say otherwise; the tests are about the defaults.
_DEFAULTS = dict.fromkeys(
    ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DEBUG", "HTTPS", "PORT", "ROW_TTL", "WRITE_RATE"), ""
) | {"LOG_LEVEL": "INFO", "LAB": "1"}
_PLUGIN = "itemsite.lab.worker"
#: Most tests wait for a server or a process: so many at a time keep two cores busy.
_WORKERS = 4
#: Minutes on 2 cores, from the start of pytest to its end.
MINUTES, ALL_MINUTES = 7, 22
_QUICK = (
    f"lab: About {MINUTES} minutes on 2 cores, without the slow tests (whole labs, browsers, "
    f"loads, the model checker); ./lab test --all runs them, too, in about {ALL_MINUTES}."
)
_ALL = (
    f"lab: About {ALL_MINUTES} minutes on 2 cores; without the slow tests, ./lab test, {MINUTES}."
)


def run(arguments: Sequence[str]) -> int:
    """Run the checks and pytest, with ``--all`` the slow tests too; or pytest with *arguments*.

    Arguments beside ``--all`` are pytest's as well.
    """
    are_all = "--all" in arguments
    rest = [argument for argument in arguments if argument != "--all"]
    if rest and not are_all:
        return _on_servers(partial(_pytest, rest), _wanted_workers(rest))
    say(_ALL if are_all else _QUICK)
    # In the plugin's order. A worker that took the place of a crashed one would have no servers.
    options = ["--dist=loadfile", "--no-loadscope-reorder", "--max-worker-restart=0"]
    options += [f"-n{_WORKERS}", *(rest if are_all else ["-m", "not slow"])]

    def checks_and_pytest(folder: Path, environment: dict[str, str]) -> int:
        failed = _run_checks(folder, environment)
        code = _pytest(options, folder, environment)
        if failed:
            say(f"Failed before pytest: {', '.join(failed)}; see above.")
        return code or len(failed)

    return _on_servers(checks_and_pytest, _WORKERS)


def _wanted_workers(pytest_arguments: Sequence[str]) -> int:
    """How many servers it takes: one, or with pytest-xdist's ``-n`` as many as that says."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-n", "--numprocesses", default="1")
    wanted = str(parser.parse_known_args(pytest_arguments)[0].numprocesses)
    # "auto" and "logical": not more than there are processors.
    return max(1, int(wanted)) if wanted.isdecimal() else os.cpu_count() or 1


def _pytest(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> int:
    say("\n== pytest")
    # In this folder, so that servers which a killed test leaves are found and stopped.
    base = f"--basetemp={folder / 'pytest'}"
    return _run(["-m", "pytest", base, "-p", _PLUGIN, *arguments], folder, environment)


def run_versions(tox_arguments: Sequence[str]) -> int:
    """Run the tests of ``cachelayer`` by tox, under each Python and Django that it finds."""

    def tox(folder: Path, environment: dict[str, str]) -> int:
        arguments = [*_discover(), *tox_arguments]
        return _run(["-m", "tox", "run", *arguments], folder, environment)

    return _on_servers(tox, 1)


def run_on_given_servers(pytest_arguments: Sequence[str]) -> int:
    """Run the tests of ``cachelayer`` on the servers of DATABASE_URL and REDIS_URL.

    Some tests stop or damage a server; those start their own. The given Redis is left empty.
    ``LabError`` says what is wrong with the given ones.
    """
    given = given_servers.environment()
    say(f"lab: The tests run on {given_servers.versions(given)}.")
    arguments = pytest_arguments or ["-m", "not slow", "cachelayer"]
    try:
        return _on_servers(partial(_pytest, arguments), 1, given)
    finally:
        # What the tests leave would look like somebody's data to the next run.
        given_servers.empty_redis(given)


def _discover() -> list[str]:
    """The Pythons of pyenv, whose commands on PATH start only those that are switched on."""
    found = sorted((pyenv_root() / "versions").glob("3.*/bin/python"), reverse=True)
    return ["--discover", *map(str, found)] if found else []


def _on_servers(
    act: Callable[[Path, dict[str, str]], int], workers: int, given: dict[str, str] | None = None
) -> int:
    """What *act* answers, which is given a folder, and an environment that names the servers."""
    raise_on_interrupts()
    folder = Path(tempfile.mkdtemp(prefix="lab-test-"))
    # Started by root, Postgres runs as somebody else, who must get through to its data.
    folder.chmod(0o711)
    keeper = Keeper(folder, remove=True)
    try:
        with Progress() as progress:
            redis_binary.ensure_server(progress)
        servers = [given] if given else _start_servers(folder, workers)
        # Tests start separate servers, too, and find these when the system has none.
        programs = [str(postgres.binaries()), str(Path(redis_binary.find_server()).parent)]
        named = {**_DEFAULTS, **servers[0], WORKERS: json.dumps(servers)}
        return act(folder, for_child(named, programs=programs))
    except Interrupted as interrupt:
        return 128 + interrupt.number
    finally:
        ignore_interrupts()
        stop_recorded(folder)
        shutil.rmtree(folder, ignore_errors=True)
        keeper.release()


def _start_servers(folder: Path, workers: int) -> list[dict[str, str]]:
    """Of each worker: tests flush, stop and look into theirs."""
    secret = secrets.token_urlsafe(48)
    started = []
    with Progress() as progress:
        progress.step("Starting a Postgres and a Redis for the tests")
        for worker in range(workers):
            # Theirs is the whole path of a socket, which may not be long.
            database = Postgres(folder / f"postgres{worker}", free_port(), durable=False)
            database.start()
            cache = Redis(folder / f"redis{worker}", free_port(), persistent=False)
            cache.start()
            started.append(
                {"DATABASE_URL": database.url, "REDIS_URL": cache.url, "SECRET_KEY": secret}
            )
    return started


def _run_checks(folder: Path, environment: dict[str, str]) -> list[str]:
    """Run every check, also after one has failed; returns the names of those that did."""
    failed = []
    for name, arguments in _CHECKS.items():
        say(f"\n== {name}")
        if _run(arguments, folder, environment):
            failed.append(name)
    return failed


def _run(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> int:
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment)
    # If this process is killed, the keeper ends the step, too, before its servers.
    Record.of(process.pid, order=-1).write(folder / RECORD)
    try:
        return process.wait()
    except Interrupted as interrupt:
        if interrupt.number == signal.SIGINT:
            # On Ctrl-C the terminal has told it too; let it say what it has found.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()
        raise
