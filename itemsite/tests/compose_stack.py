"""The stack of a compose file, started for tests and taken away again, data and all.

It has its own name, so that the data of a stack that a person has is not touched;
the ports are the real ones, so that one must be stopped.
"""

import os
import re
import shutil
import subprocess

import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.terminal import Typed, type_in

#: What `./lab test` sets for the tests is not for compose, which would take it up.
_NOT_FOR_COMPOSE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "LOG_LEVEL", "LAB", "PORT")


class Stack:
    """Types commands in the project's root, with a project name of the tests' own."""

    def __init__(self, file: str = "docker-compose.yml") -> None:
        inherited = {
            name: value for name, value in os.environ.items() if name not in _NOT_FOR_COMPOSE
        }
        own = {"COMPOSE_FILE": file, "COMPOSE_PROJECT_NAME": "cache-lab-under-test"}
        self.environment = inherited | own

    def type(self, command: str, timeout: float = 120.0) -> Typed:
        return type_in(self._as_v1(command), cwd=ROOT, env=self.environment, timeout=timeout)

    def see(self, command: str, *words: str, timeout: float = 120.0) -> str:
        """Type *command*; it must succeed and show all the *words*. Returns what it showed."""
        typed = self.type(command, timeout)
        assert typed.code == 0, f"{command}: {typed.code}\n{typed.shown}"
        missing = [word for word in words if word not in typed.shown]
        assert not missing, f"{command}: no {missing} in\n{typed.shown}"
        return typed.shown

    def _as_v1(self, command: str) -> str:
        """The old Compose takes options of ``logs`` only before the service."""
        if not _is_v1():
            return command
        return re.sub(r"(docker compose logs) (\w+) (--tail=\d+)", r"\1 \3 \2", command)


def _is_v1() -> bool:
    version = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True)
    return "version 1." in version.stdout


def skip_unless_possible(request: pytest.FixtureRequest) -> None:
    """Skip, with a sentence, where the stack is not asked for or cannot run."""
    if not request.config.getoption("--compose"):
        pytest.skip("starts the docker compose stack; ./lab test --compose runs it")
    if not shutil.which("docker"):
        pytest.skip("there is no docker here")
    if subprocess.run(["docker", "compose", "ps"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("docker compose does not work here: is the engine running?")
