"""What the page may break. Each does what a command of a person's terminal does."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final, Literal

import psutil
from django.conf import settings

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.folder import LabFolder
from itemsite.lab.process import children

#: For the switches of Redis: what is run, as ``./lab redis …``.
SWITCHES: Final = {"stop-redis": "stop", "start-redis": "start", "pause-redis": "pause"}
KILL_WORKER: Final = "kill-worker"

#: Seconds in which a command that has said its last word is gone.
_ENDING: Final = 0.5

RedisPlace = Literal["running", "stopped", "yours", "compose"]


class Refused(Exception):  # noqa: N818  (as Http404)
    """It cannot be done here; the message says what to do instead."""


def redis_place() -> RedisPlace:
    """Where the Redis of this lab is.

    ``running`` or ``stopped``: it is the embedded one of ``./lab``. ``yours``: ``./lab``
    was given a REDIS_URL. ``compose``: it is not ``./lab`` that serves this.
    """
    folder = LabFolder()
    state = folder.state()
    # The lab that runs in this checkout may not be the one that serves this page.
    if state is None or state.redis_url != settings.ENVIRONMENT.redis_url:
        return "compose"
    if "redis" not in state.embedded:
        return "yours"
    from itemsite.lab.launcher import embedded_servers

    return "running" if embedded_servers(folder)["redis"].running else "stopped"


def switch_redis(name: str) -> str:
    """Run ``./lab redis stop``, ``start`` or ``pause``; what it said. Raises ``Refused``.

    A pause ends by itself; this does not wait for it.
    """
    word = SWITCHES[name]
    place = redis_place()
    if place == "yours":
        raise Refused("This lab uses the Redis of your REDIS_URL. Stop and start it yourself.")
    if place == "compose":
        raise Refused(
            "This page can only switch the Redis that ./lab has started. In a terminal: "
            f"docker compose {word} redis."
        )
    command = [sys.executable, "-m", "itemsite.lab", "redis", word]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=for_child({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whatever becomes of this worker, what was begun is finished.
        start_new_session=True,
    )
    assert process.stdout is not None
    # A pause says at once what it does and goes on for seconds; an error ends at once.
    said = process.stdout.readline() if word == "pause" else process.stdout.read()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_ENDING)
    if process.returncode:
        raise Refused(said.strip().removeprefix("lab: ") or "It failed; ./lab's terminal says why.")
    return said.strip().removeprefix("lab: ")


def kill_worker() -> str:
    """Kill another worker of this gunicorn with SIGKILL. Raises ``Refused``."""
    if not any("gunicorn" in word for word in psutil.Process(os.getppid()).cmdline()):
        raise Refused("This server has no workers. Start the lab with ./lab to have some.")
    others = [pid for pid in children(os.getppid()) if pid != os.getpid()]
    if not others:
        raise Refused("There is only one worker. Start the lab with WEB_WORKERS=2 or more.")
    victim = min(others)
    os.kill(victim, signal.SIGKILL)
    return f"Worker {victim} is killed (SIGKILL); gunicorn starts another."
