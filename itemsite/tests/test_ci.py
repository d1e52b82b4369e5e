"""``.ci/run`` installs what the tests need; without it, CI fails and a desk goes on."""

import re
import shutil
import subprocess

import pytest

from itemsite.lab.bootstrap import ROOT

NEEDED = ("spin", "gcc", "promtool", "chromium", "node", "curl", "pgbouncer", "wrk")


class Machine:
    """One on which ``bin`` has every program there is, and ./lab says that it was run."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("bash", "env", "dirname", "touch"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.program("id", "echo 0")
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
        self.program("../lab", 'echo "lab $*"; exit 7')
        for name in NEEDED:
            self.program(name)

    def program(self, name, script=":"):
        path = self.bin / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    def lacks(self, *names):
        for name in names:
            (self.bin / name).unlink()

    def run(self, **environment):
        return subprocess.run(
            [self.folder / ".ci" / "run"],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}], ids=["desk", "ci"])
def test_where_nothing_is_missing_all_tests_are_run(machine, environment):
    machine.program("apt-get", "echo must not be called; exit 1")
    done = machine.run(**environment)
    assert (done.stdout, done.stderr, done.returncode) == ("lab test --all\n", "", 7)


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}], ids=["desk", "ci"])
def test_what_is_missing_is_installed(machine, environment):
    machine.lacks("gcc", "node")
    asked = machine.folder / "asked"
    machine.program(
        "apt-get",
        f"""echo "$*" >> {asked}; cd {machine.bin}
        case "$*" in *libc6-dev*) : > gcc;; *nodejs*) : > node;; esac; chmod +x *""",
    )
    (machine.bin / "chmod").symlink_to(shutil.which("chmod"))
    done = machine.run(**environment)
    assert (done.stdout, done.stderr) == ("lab test --all\n", "")
    assert asked.read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends gcc libc6-dev",
        "install -y -qq --no-install-recommends nodejs",
    ]


class TestWhatCannotBeInstalled:
    @pytest.fixture(autouse=True, params=["no network", "not root", "no apt"])
    def _machine(self, machine, request):
        machine.lacks("spin", "gcc")
        if request.param != "no apt":
            machine.program("apt-get", "exit 100")
        if request.param == "not root":
            machine.program("id", "echo 1000")

    def test_is_left_out_on_a_desk(self, machine):
        done = machine.run()
        assert done.stdout == (
            "Could not install spin gcc libc6-dev; the tests that need it are skipped.\n"
            "lab test --all\n"
        )
        assert done.returncode == 7

    def test_fails_in_ci(self, machine):
        done = machine.run(CI="true")
        assert done.stdout == ""
        assert done.stderr.startswith("Could not install spin gcc libc6-dev, and with CI set")
        assert "install it before .ci/run, or unset CI." in done.stderr
        assert done.returncode == 1

    @pytest.mark.parametrize("name", NEEDED)
    def test_no_single_program_may_be_missing_in_ci(self, machine, name):
        for each in ("spin", "gcc"):
            machine.program(each)
        machine.lacks(name)
        done = machine.run(CI="true")
        assert done.stderr.startswith("Could not install ")
        assert done.returncode == 1


def test_every_program_without_which_a_test_is_skipped_is_installed():
    patterns = ("*/tests/*.py", "*/*/tests/*.py")
    sources = "\n".join(path.read_text() for each in patterns for path in ROOT.glob(each))
    asked = set(re.findall(r'skipif\(\s*(?:not )?shutil\.which\("(\w+)"', sources))
    assert {"curl", "promtool", "wrk"} <= asked
    assert asked - {*NEEDED} == set()
