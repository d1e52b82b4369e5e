"""Every way in which ./lab cannot go on is one sentence that says what to do."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from itemsite.lab import bootstrap, cli, packages
from itemsite.lab.account import Account
from itemsite.lab.errors import LabError
from itemsite.lab.progress import Progress


def run_script(*arguments, **environment):
    """The shell script itself."""
    return subprocess.run(
        ["/bin/sh", str(bootstrap.ROOT / "lab"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
    )


def test_without_a_python_that_is_new_enough():
    done = run_script(PATH="/nonexistent")
    assert done.returncode == 1
    assert done.stderr.startswith("lab: there is no Python 3.11 or newer on PATH; install one")


def test_help_lists_every_command(capsys):
    for arguments in (["help"], ["--help"], ["-h"], ["test", "--help"]):
        assert cli.main(arguments) == 0
        said = capsys.readouterr().out
        assert all(f"./lab {name}" in said for name in cli._COMMANDS if name != "start")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strat"], "lab: There is no command 'strat'; ./lab help lists them.\n"),
        (["stop", "now"], "lab: ./lab stop takes no 'now'; ./lab help shows how.\n"),
        (
            ["redis"],
            "lab: Say ./lab redis start, ./lab redis stop or ./lab redis pause 5.\n",
        ),
        (
            ["postgres", "x"],
            "lab: Say ./lab postgres start, ./lab postgres stop or ./lab postgres pause 5.\n",
        ),
        (
            ["redis", "pause", "0"],
            "lab: Say for how many seconds, from 1 to 600: ./lab redis pause 5.\n",
        ),
        (
            ["redis", "pause", "1", "2"],
            "lab: Say ./lab redis start, ./lab redis stop or ./lab redis pause 5.\n",
        ),
    ],
)
def test_a_wrong_command_is_a_sentence_and_exit_code_2(capsys, arguments, sentence):
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_a_port_that_is_none(capsys, monkeypatch, port):
    monkeypatch.setenv("PORT", port)
    assert cli.main([]) == 1
    assert "Set it to a whole number from 1 to 65535." in capsys.readouterr().err


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv(monkeypatch, module):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == module else found(n))
    with pytest.raises(LabError, match="apt install python3-venv"):
        bootstrap._make_venv(Progress())


@pytest.mark.parametrize(
    ("pip_says", "we_say"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement rich==99 "
            "(from versions: 1.0, 2.0)\nERROR: No matching distribution found for rich==99",
            "There is no rich==99 for Python",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement rich==15.0.0 "
            "(from versions: none)\nERROR: No matching distribution found for rich==15.0.0",
            "pip found no rich==15.0.0 for Python",
        ),
        (
            "WARNING: Retrying after connection broken by NewConnectionError\n"
            "ERROR: No matching distribution found for rich==15.0.0",
            "pip cannot reach the package index",
        ),
        ("  ERROR: Failed building wheel for orjson\n", "orjson has no wheel for Python"),
        (
            "ERROR: Could not build wheels for orjson, which is required to install",
            "orjson has no wheel for Python",
        ),
        (
            "error: failed-wheel-build-for-install\nERROR: Failed to build installable wheels for "
            "some pyproject.toml based projects (orjson)",
            "orjson has no wheel for Python",
        ),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("Something new", "pip could not install it"),
    ],
)
def test_why_pip_failed(pip_says, we_say):
    why = packages._why(pip_says, "it", Path("var/install.log"))
    assert why.startswith(we_say)
    assert "start ./lab again" in why


def test_a_fresh_stamp_follows_the_pins_and_the_interpreter(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    (tmp_path / "requirements.txt").write_text("a==1\n")
    (tmp_path / "requirements-load.txt").write_text("-r requirements.txt\nc==1\n")
    (tmp_path / "requirements-test.txt").write_text("-r requirements-load.txt\nb==1\n")
    runtime = bootstrap._fingerprint("requirements.txt")
    tests = bootstrap._fingerprint("requirements-test.txt")
    (tmp_path / "requirements-load.txt").write_text("-r requirements.txt\nc==2\n")
    assert bootstrap._fingerprint("requirements.txt") == runtime
    assert bootstrap._fingerprint("requirements-test.txt") != tests
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", tmp_path / "another")
    assert bootstrap._fingerprint("requirements.txt") != runtime


def test_root_without_setpriv_in_a_closed_folder(monkeypatch, tmp_path):
    class Refused:
        returncode = 1

    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: Refused())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LabError, match="install setpriv"):
        Account(65534, 65534).call(["postgres"], tmp_path)
