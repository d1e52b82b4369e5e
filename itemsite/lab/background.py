"""Light traffic, as the lab runs it when BACKGROUND_RATE says so."""

import sys
from pathlib import Path

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.process import Server


class Background(Server):
    """``python -m loadtest.background``."""

    name = "background"
    # Before gunicorn: it deletes its rows.
    order = -1

    def __init__(self, directory: Path, url: str, rate: int) -> None:
        super().__init__(directory)
        self._url, self._rate = url, rate

    def start(self, timeout: float = 30.0) -> None:
        """Start it; it waits for the API by itself."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "loadtest.background"]
        command += ["--url", self._url, "--rate", str(self._rate)]
        self._spawn(command, cwd=ROOT, env=for_child({}))
