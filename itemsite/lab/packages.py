"""Installs packages for the lab: with uv, and with pip where uv cannot.

Standard library only: the bootstrap uses it before anything is installed.
"""

import contextlib
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from itemsite.lab.errors import LabError
from itemsite.lab.progress import Progress

_UV = "uv==0.13.9"
#: Seconds between two updates of the live line.
_TICK = 0.5
_ERROR = re.compile(r"^\s*(?:ERROR:|error:|OSError:|×|╰─▶)\s*(.+)", re.MULTILINE)  # noqa: RUF001


def install(
    python: Path, arguments: Sequence[str], *, what: str, log: Path, progress: Progress
) -> None:
    """Install what *arguments* name for *python*, of a .venv; ``LabError`` says why it failed."""
    progress.step(f"Installing {what}")
    uv = _uv(python, log, progress)
    command = [uv, "pip", "install", "--no-progress", "--python", str(python), *arguments]
    # Where only pip's settings name the package index or the proxy, uv does not know them.
    if not (uv and _succeeds(command, log, progress)):
        run([*pip(python), *arguments], what=what, log=log, progress=progress)
    progress.step("Compiling the installed packages")
    # On all cores, where pip would use one. Some packages hold files for other Pythons, which
    # do not compile; an import says what is wrong with a file that is needed.
    command = [str(python), "-m", "compileall", "-qq", "-j", "0", str(python.parents[1] / "lib")]
    subprocess.run(command, capture_output=True, check=False)


def run(command: Sequence[str], *, what: str, log: Path, progress: Progress) -> None:
    """Run an installer, whose words go to *log*; ``LabError`` has the last of its errors."""
    progress.step(f"Installing {what}")
    if not _succeeds(command, log, progress):
        raise LabError(_why(log.read_text(errors="replace"), what, log))


def pip(python: Path) -> list[str]:
    """The command line of ``pip install`` for *python*, which may lack pip itself."""
    # Ours serves .venv as well, so that making .venv takes a second instead of five.
    own = importlib.util.find_spec("pip") is not None
    start = [sys.executable, "-m", "pip", "--python", str(python)] if own else [str(python)]
    if not own:
        subprocess.run([python, "-m", "ensurepip"], capture_output=True, check=False)
        start += ["-m", "pip"]
    quiet = ["--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    return [*start, "install", *quiet, "--prefer-binary", "--no-compile"]


def _uv(python: Path, log: Path, progress: Progress) -> str:
    """The path of uv, which takes half the time of pip; empty where it cannot be had."""
    if found := shutil.which("uv"):
        return found
    own = python.parent / "uv"
    if not own.exists():
        _succeeds([*pip(python), "--retries=0", _UV], log, progress)
    return str(own) if own.exists() else ""


def _succeeds(command: Sequence[str], log: Path, progress: Progress) -> bool:
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        # Installers are silent while they unpack; the seconds on the live line go on.
        while process.poll() is None:
            progress.tick()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK)
    return process.returncode == 0


def _why(output: str, what: str, log: Path) -> str:
    errors = [found.strip().rstrip(".") for found in _ERROR.findall(output)]
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return (
        f"Could not install {what}: {errors[-1] if errors else 'no reason given'} ({log} has the "
        "rest). Check the network, the proxy and the room on the disk; if a package has no wheel "
        f"for {here}, put a Python from 3.11 to 3.13 first on PATH. Then start ./lab again."
    )
