"""Runs pip for the lab, visibly, and explains its failures in a sentence.

Standard library only: the bootstrap uses it before anything is installed.
"""

import os
import platform
import re
import selectors
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from itemsite.lab.errors import LabError
from itemsite.lab.progress import Progress

_COLLECTING = re.compile(r"^\s*Collecting (\S+)")
_INSTALLING = re.compile(r"^\s*Installing collected packages: (.*)")
_BUILDING = re.compile(r"^\s*Building wheel for (\S+)")
_NO_VERSION = re.compile(
    r"(?:No matching distribution found for|satisfies the requirement) ([^\s(;]+)"
)
_NOT_BUILT = re.compile(
    r"(?:Failed building wheel for|Failed to build(?: installable wheels for some pyproject"
    r".toml based projects)?|Could not build wheels for) \(?['\"]?([A-Za-z0-9._-]+)"
)
_UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|Max retries exceeded|Read timed out"
    r"|Connection refused|ConnectTimeoutError|Temporary failure in name resolution"
)
_DISK_FULL = re.compile(r"No space left on device")


def pip_install(
    python: Path, arguments: Sequence[str], *, what: str, log: Path, progress: Progress
) -> None:
    """Run ``pip install`` with *python*; ``LabError`` says why it failed."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--prefer-binary", *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.step(f"Installing {what}")
    code, output = _run(command, _Narrator(what, progress), progress)
    log.write_text(output)
    if code:
        raise LabError(_why(output, what, log))


class _Narrator:
    """Turns what pip says into steps."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what = what
        self._progress = progress
        self._count = 0

    def __call__(self, line: str) -> None:
        if found := _COLLECTING.match(line):
            self._count += 1
            self._progress.step(f"Installing {self._what}: {self._count}. {found[1]}")
        elif found := _BUILDING.match(line):
            self._progress.step(f"Installing {self._what}: compiling {found[1]}")
        elif found := _INSTALLING.match(line):
            count = found[1].count(",") + 1
            self._progress.step(f"Installing {self._what}: unpacking {count} packages")


def _run(
    command: Sequence[str], hear: Callable[[str], None], progress: Progress
) -> tuple[int, str]:
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                # pip is silent while it unpacks; the seconds on the live line go on.
                if not selector.select(timeout=0.5):
                    progress.tick()
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    lines.append(line.decode(errors="replace"))
                    hear(lines[-1])
    lines.append(rest.decode(errors="replace"))
    return process.returncode, "\n".join(lines)


def _why(output: str, what: str, log: Path) -> str:
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    # First: pip calls a package that it could not look up "no matching distribution" too.
    if _UNREACHABLE.search(output):
        return (
            f"pip cannot reach the package index to install {what}; check the network and the "
            f"proxy, then start ./lab again ({log} has pip's words)."
        )
    if _DISK_FULL.search(output):
        return f"The disk is full; make room to install {what}, then start ./lab again."
    if (found := _NO_VERSION.search(output)) and "(from versions: none)" in output:
        return (
            f"pip found no {found[1]} for {here}; check the network, put a Python from 3.11 to "
            f"3.13 first on PATH, and start ./lab again ({log} has pip's words)."
        )
    if found:
        return (
            f"There is no {found[1]} for {here}; put a Python from 3.11 to 3.13 first on PATH "
            f"and start ./lab again ({log} has pip's words)."
        )
    if found := _NOT_BUILT.search(output):
        return (
            f"{found[1]} has no wheel for {here} and does not compile here; put a Python from "
            f"3.11 to 3.13 first on PATH, or install a C compiler, and start ./lab again "
            f"({log} has pip's words)."
        )
    return f"pip could not install {what}; {log} says why, then start ./lab again."
