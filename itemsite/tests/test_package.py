"""``pip install`` of the checkout takes the Django that a project has, and leaves it alone."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from itemsite.lab.bootstrap import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Pythons that Django 6 runs on.
NEWER = ("3.12", "3.13", "3.14")


def of_classifiers(name):
    return [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if name in line]


def test_every_version_that_is_named_is_accepted():
    assert of_classifiers("Django ::") == ["5.2", "6.0", "6.1"]
    [django] = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == "django"]
    assert all(f"{version}.1" in django.specifier for version in of_classifiers("Django ::"))
    assert of_classifiers("Python ::") == ["3.11", *NEWER]
    pythons = SpecifierSet(PROJECT["requires-python"])
    assert all(f"{version}.0" in pythons for version in of_classifiers("Python ::"))
    assert "3.10.14" not in pythons


def test_no_dependency_has_an_upper_end():
    """pip would take back what a project has."""
    needed = map(Requirement, PROJECT["dependencies"])
    assert {part.operator for each in needed for part in each.specifier} == {">="}


def newer_python():
    """A Python on PATH or of pyenv; None where there is none."""
    found = [shutil.which(f"python{version}") for version in NEWER]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found += [next(map(str, pyenv.glob(f"{version}.*/bin/python")), None) for version in NEWER]
    return next((python for python in found if python and starts(python)), None)


def starts(python):
    """A version manager's command may only print an error."""
    return subprocess.run([python, "-V"], capture_output=True).returncode == 0


def run(*command):
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["5.2.8", "6.1"])
def test_a_project_keeps_its_django(tmp_path, version):
    """Needs the package index, and fails where it cannot be reached."""
    python = sys.executable if version.startswith("5") else newer_python()
    if python is None:
        pytest.skip(f"There is no Python of {', '.join(NEWER)}, and Django {version} needs one.")
    run(python, "-m", "venv", tmp_path / "venv")
    here = tmp_path / "venv" / "bin" / "python"
    install = (here, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, f"django=={version}")
    # pip builds in the folder that it is given.
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "cachelayer", checkout / "cachelayer")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    run(*install, checkout)
    assert run(here, "-m", "django", "--version").stdout.strip() == version
    run(here, "-m", "pip", "check")
