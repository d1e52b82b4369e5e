"""The process that repairs keys as soon as they are logged, as the lab runs it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.process import Server


class Repair(Server):
    """``manage.py cache_repair``."""

    name = "cache_repair"

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._environment = environment

    def start(self, timeout: float = 30.0) -> None:
        """Start it; it finds its servers by itself, so there is nothing to wait for."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "manage.py"), "cache_repair"]
        self._spawn(command, cwd=ROOT, env=for_child(self._environment))
