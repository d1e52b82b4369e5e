"""A real Prometheus with the lab's configuration, for tests; it scrapes every second."""

import json
import shutil
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.process import Server

CONFIGURATION = ROOT / "docker" / "prometheus"


class Prometheus(Server):
    """Scrapes the site on *target* as the compose file's Prometheus scrapes the API."""

    name = "Prometheus"

    def __init__(self, directory: Path, port: int, target: int) -> None:
        super().__init__(directory)
        self.port = port
        self._target = target

    def start(self, timeout: float = 60.0) -> None:
        self.directory.mkdir(parents=True)
        for path in CONFIGURATION.glob("*.yml"):
            text = path.read_text().replace("[api:8000]", f"['127.0.0.1:{self._target}']")
            if path.name == "prometheus.yml":
                text = text.replace("scrape_interval: 5s", "scrape_interval: 1s")
                text = text.replace("scrape_timeout: 4s", "scrape_timeout: 1s")
            (self.directory / path.name).write_text(text)
        command = [shutil.which("prometheus") or "prometheus"]
        command += [f"--config.file={self.directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={self.directory / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        self._spawn(command, cwd=self.directory)
        self._await(self._ready, timeout)

    def query(self, expression: str) -> list[float]:
        """The values of *expression* now, without those that are not numbers."""
        answer = self._get(f"/api/v1/query?{urlencode({'query': expression})}")
        assert answer["status"] == "success", (expression, answer)
        values = [float(sample["value"][1]) for sample in answer["data"]["result"]]
        return [value for value in values if value == value]

    def _ready(self) -> bool:
        try:
            return bool(self._get("/api/v1/query?query=up")["status"] == "success")
        except (OSError, ValueError):
            return False

    def _get(self, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
