"""Gunicorn's configuration: ``gunicorn -c python:itemsite.gunicorn``."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

from itemsite import metrics_files
from itemsite.environment import WebEnvironment, for_child

_environment = WebEnvironment.read()

bind = _environment.bind
if _environment.worker == "asgi":
    wsgi_app = "itemsite.asgi:application"
    worker_class = "itemsite.worker.Worker"
    # Also where uvloop is installed: hits are no faster with it, and one worker takes a burst.
    asgi_loop = "asyncio"
else:
    wsgi_app = "itemsite.wsgi:application"
    worker_class = "gthread"
    threads = _environment.threads
workers = _environment.workers
# The workers share what the master has imported; whatever connects, does so after the fork.
preload_app = True
keepalive = 30
timeout = 30
graceful_timeout = 10
accesslog = None
# One path for each user by default: a second gunicorn would take it from the first.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Refuse to start with a configuration that breaks a promise of the cache.

    In a separate process: the master must not connect to anything. Without an
    answer from Postgres its triggers cannot be checked, and serving hits
    matters more.
    """
    command = [sys.executable, "-m", "django", "check", "--database", "default"]
    environment = for_child({"DJANGO_SETTINGS_MODULE": "itemsite.settings"})
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    # After the check, which has left files, too. A master that takes over from a
    # running one (USR2) shares its folder.
    if _environment.metrics_dir and not _environment.takes_over:
        metrics_files.clear(Path(_environment.metrics_dir))
    if "SystemCheckError" in checked.stderr:
        server.log.error("Not started. %s", checked.stderr.strip())
        sys.exit(1)
    if checked.returncode:
        server.log.warning("Started unchecked: %s", checked.stderr.strip().rpartition("\n")[2])


def when_ready(server: Any) -> None:
    """Take what is loaded by now out of the garbage collector's sight, in all workers.

    It lives as long as they do, and each full collection would walk through it: a pause
    that shows in the slowest hundredth of the requests. What is not touched stays shared.
    """
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Start sending traces; the thread that does would not survive a fork.

    The worker's gate is shown from now on, and not from its first request.
    """
    # Not at the top: gunicorn reads this file before there are settings.
    from cachelayer.telemetry import prometheus
    from itemsite import telemetry

    prometheus.count_from_now()
    telemetry.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Save what this worker has counted and not yet written to Redis; send its last traces."""
    from cachelayer.telemetry import buffered_metrics, counters
    from itemsite import telemetry

    counters.flush()
    buffered_metrics.flush()
    telemetry.stop()


def child_exit(server: Any, worker: Any) -> None:
    """Take a dead worker's gauges out of /metrics, and keep its counts."""
    if _environment.metrics_dir:
        try:
            metrics_files.fold(Path(_environment.metrics_dir), worker.pid, server.WORKERS)
        except Exception:
            server.log.exception("The files of worker %d stay in /metrics.", worker.pid)
