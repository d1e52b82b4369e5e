"""The first half of ``./lab``: makes .venv, installs what is pinned, hands over to it.

It runs under whatever Python the machine has, before anything is installed, so it
uses the standard library only.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # Started by path: import from the project, not from this folder.
    sys.path[0] = str(ROOT)

from itemsite.lab import packages  # noqa: E402
from itemsite.lab.errors import LabError  # noqa: E402
from itemsite.lab.progress import Progress, say  # noqa: E402

VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
# What each command needs; the others need nothing that a lab has not installed.
_REQUIREMENTS = {
    "start": "requirements.txt",
    "load": "requirements-load.txt",
    "docs": "requirements-docs.txt",
    "test": "requirements-test.txt",
    "versions": "requirements-test.txt",
    "servers": "requirements-test.txt",
    "imports": "requirements-test.txt",
}
# Of the caller's shell, these would change what .venv's Python imports.
_FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")


def main(arguments: list[str]) -> int:
    """Install if necessary, then become ``python -m itemsite.lab``."""
    began = time.time()
    try:
        if platform.system() == "Windows":
            raise LabError("The lab runs on Linux and macOS; on Windows, run ./lab inside WSL.")
        if requirements := _needed(arguments):
            install(requirements)
            # WhiteNoise warns of a missing STATIC_ROOT, though nothing has to be collected.
            (ROOT / "var" / "static").mkdir(parents=True, exist_ok=True)
        python = VENV_PYTHON if VENV_PYTHON.exists() else Path(sys.executable)
        environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
        environment["LAB_BEGAN"] = str(began)
        os.chdir(ROOT)
        os.execve(python, [str(python), "-m", "itemsite.lab", *arguments], environment)
    except LabError as error:
        say(f"lab: {error}", sys.stderr)
    except PermissionError as error:
        say(
            f"lab: {error.filename or ROOT} belongs to another user; run ./lab as that user, "
            "or work in a clone of your own.",
            sys.stderr,
        )
    except KeyboardInterrupt:
        say("lab: interrupted; start ./lab again to go on where it stopped.", sys.stderr)
        return 130
    return 1


def _needed(arguments: list[str]) -> str | None:
    """Help, a wrong command, and a question about a lab that never ran install nothing."""
    if {"-h", "--help"} & set(arguments[:2]):
        return None
    return _REQUIREMENTS.get(arguments[0] if arguments else "start")


def install(requirements: str) -> None:
    """Bring .venv to what *requirements* pins; at once when it is there already."""
    stamp = VENV / f"{requirements}.stamp"
    if _is_current(stamp):
        return
    with alone():
        # Another ./lab, which held the lock, may have done it.
        if _is_current(stamp):
            return
        with Progress() as progress:
            if not _works(VENV_PYTHON):
                _make_venv(progress)
            packages.install(
                VENV_PYTHON,
                ["-r", str(ROOT / requirements)],
                what=requirements,
                log=ROOT / "var" / "install.log",
                progress=progress,
            )
            for name in _with_included(requirements):
                (VENV / f"{name}.stamp").write_text(_fingerprint(name))
            seconds = progress.seconds
        say(f"lab: installed {requirements} into .venv in {seconds:.0f} s.")


def _is_current(stamp: Path) -> bool:
    try:
        return stamp.read_text() == _fingerprint(stamp.name.removesuffix(".stamp"))
    except OSError:
        return False


def _fingerprint(requirements: str) -> str:
    """Of the pinned versions and of the interpreter, which an upgrade of the system replaces."""
    digest = hashlib.sha256()
    for name in sorted(_with_included(requirements)):
        digest.update((ROOT / name).read_bytes())
    digest.update(os.path.realpath(VENV_PYTHON).encode())
    return digest.hexdigest()


def _with_included(requirements: str) -> set[str]:
    """The file and those that it includes by ``-r``."""
    lines = (ROOT / requirements).read_text().splitlines()
    included = [line.removeprefix("-r ").strip() for line in lines if line.startswith("-r ")]
    return {requirements}.union(*map(_with_included, included))


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0


def _make_venv(progress: Progress) -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise LabError(
            f"This Python ({sys.executable}) has no module {missing[0]}; install it (on Debian "
            f"and Ubuntu: apt install python3-venv or python{version}-venv) and start ./lab again."
        )
    progress.step("Making .venv")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        last = (made.stdout + made.stderr).strip().splitlines()[-1:]
        raise LabError(
            f"{sys.executable} could not make .venv ({''.join(last)}); on Debian and Ubuntu "
            "install python3-venv, then start ./lab again."
        )


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two ./lab at the same time install one after the other."""
    (ROOT / "var").mkdir(exist_ok=True)
    with open(ROOT / "var" / "install.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("lab: another ./lab is installing; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
