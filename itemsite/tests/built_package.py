"""The wheel and the sdist of this checkout, and environments in which nothing else is."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from itemsite.environment import pyenv_root
from itemsite.lab.bootstrap import ROOT

#: Pythons that Django 6 runs on; the ranges of the tests that need one.
NEWER = ("3.13", "3.12", "3.14")


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def build(folder):
    """Build in *folder*: the sdist from a copy of the checkout, and the wheel from the sdist."""
    checkout = folder / "checkout"
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cachelayer", checkout / "cachelayer", ignore=leave_out)
    for path in ROOT.iterdir():
        if path.suffix in (".md", ".toml", ".in") or path.name == "LICENSE":
            shutil.copy(path, checkout)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", checkout)
    [wheel], [sdist] = (list((folder / "dist").glob(end)) for end in ("*.whl", "*.tar.gz"))
    return Built(wheel, sdist)


def new_venv(folder, *requirements, python=sys.executable):
    """An environment with *requirements* and what they ask for. Needs the package index."""
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", *_QUIETLY, *requirements)
    return folder


_QUIETLY = ("--quiet", "--disable-pip-version-check", "--prefer-binary")


def run(*command, **options):
    """Run *command*, which must succeed."""
    options = {"capture_output": True, "text": True, "timeout": 280, **options}
    ran = subprocess.run([*map(str, command)], **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


@cache
def newer_python():
    """A Python on which Django 6 runs, on PATH or of pyenv; None where there is none."""
    found = [shutil.which(f"python{version}") for version in NEWER]
    pyenv = pyenv_root() / "versions"
    found += [next(map(str, pyenv.glob(f"{version}.*/bin/python")), None) for version in NEWER]
    return next((python for python in found if python and _starts(python)), None)


def _starts(python):
    """A version manager's command may only print an error."""
    return subprocess.run([python, "-V"], capture_output=True).returncode == 0
