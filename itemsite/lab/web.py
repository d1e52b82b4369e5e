"""Gunicorn, as the lab runs it."""

import http.client
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError
from itemsite.lab.ports import is_free
from itemsite.lab.process import Server, children, wait_until


class Web(Server):
    """The web server on 127.0.0.1."""

    name = "Gunicorn"
    order = 0

    def __init__(self, directory: Path, port: int, environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        self.port = port
        self._environment = environment

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def workers(self) -> list[int]:
        return children(self.pid) if self.pid else []

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until /health answers."""
        metrics = self.directory / "metrics"
        # Files of dead processes would be counted for ever.
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        self.log.write_bytes(b"")
        command = [sys.executable, "-m", "gunicorn", "-c", "python:itemsite.gunicorn"]
        environment = for_child(
            {
                **self._environment,
                "BIND": f"127.0.0.1:{self.port}",
                "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            }
        )
        self._spawn(command, cwd=ROOT, env=environment)
        self._await(self._healthy, timeout)

    def stop(self) -> None:
        super().stop()
        # Workers whose master was killed notice it within a second or two.
        wait_until(lambda: is_free(self.port), 5)

    def _healthy(self) -> bool:
        # Not urllib: a proxy in the environment is not for 127.0.0.1.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if status == 500:
            # An application that cannot be imported answers so for ever.
            raise LabError(
                f"The application answers with an error: {self.last_words()}; {self.log} has the "
                "rest, then start ./lab again."
            )
        return status == 200
