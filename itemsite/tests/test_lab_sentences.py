"""Every way in which ./lab cannot go on is one sentence that says what to do."""

import importlib.util
import subprocess
import sys
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


def fails_to_install(monkeypatch, tmp_path, says):
    """What the lab says when its installer has ended with the words *says*."""
    program = f"import sys; print({says!r}); sys.exit(1)"
    monkeypatch.setattr(packages, "_uv", lambda *args: "")
    monkeypatch.setattr(packages, "pip", lambda python: [sys.executable, "-c", program])
    log = tmp_path / "var" / "install.log"
    with pytest.raises(LabError) as error:
        packages.install(Path(sys.executable), [], what="it", log=log, progress=Progress())
    assert log.read_text().strip() == says.strip()
    assert f"({log} has the rest)" in str(error.value)
    assert str(error.value).endswith("Then start ./lab again.")
    return str(error.value)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement rich==99 "
            "(from versions: 1.0, 2.0)\nERROR: No matching distribution found for rich==99",
            "No matching distribution found for rich==99",
        ),
        ("  ERROR: Failed building wheel for orjson\n", "Failed building wheel for orjson"),
        ("ERROR: [Errno 28] No space left on device", "[Errno 28] No space left on device"),
        (
            "  \N{MULTIPLICATION SIGN} No solution found when resolving dependencies:\n"
            "  ╰─▶ Because there is no version of rich==99, your requirements are unsatisfiable.",
            "Because there is no version of rich==99, your requirements are unsatisfiable",
        ),
        ("Something new", "no reason given"),
    ],
)
def test_why_an_installation_failed(monkeypatch, tmp_path, says, reason):
    assert fails_to_install(monkeypatch, tmp_path, says).startswith(
        f"Could not install it: {reason} ("
    )


@pytest.fixture
def installers(monkeypatch, tmp_path):
    """A uv, a pip and a Python that note that they were called; *uv_fails* and what was called."""

    def install(*, uv_fails):
        called = tmp_path / "called"
        programs = {}
        for name in ("uv", "pip", "python"):
            program = programs[name] = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            end = "exit 1" if name == "uv" and uv_fails else "exit 0"
            program.write_text(f"#!/bin/sh\necho {name} >> {called}\n{end}\n")
            program.chmod(0o755)
        monkeypatch.setattr("shutil.which", lambda name: str(programs["uv"]))
        monkeypatch.setattr(packages, "pip", lambda python: [str(programs["pip"])])
        log = tmp_path / "install.log"
        packages.install(programs["python"], [], what="it", log=log, progress=Progress())
        return called.read_text().split()

    return install


def test_uv_installs_where_it_is_on_path(installers):
    assert installers(uv_fails=False) == ["uv", "python"]


def test_pip_installs_what_uv_cannot(installers):
    assert installers(uv_fails=True) == ["uv", "pip", "python"]


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
