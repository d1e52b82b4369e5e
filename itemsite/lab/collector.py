"""The lab's own collector of traces, for people without Jaeger."""

import sys
from pathlib import Path

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.process import Server

#: OTLP's own, over HTTP.
PORT = 4318


class Collector(Server):
    """``python -m itemsite.collector``, on 127.0.0.1."""

    name = "Collector"
    # After those that send to it.
    order = 1

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory)
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, timeout: float = 30.0) -> None:
        """Start it without waiting: exporters of traces try again."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        command = [sys.executable, "-m", "itemsite.collector", str(self.port)]
        self._spawn(command, cwd=ROOT)
