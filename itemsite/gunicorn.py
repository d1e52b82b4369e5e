"""Gunicorn's configuration: ``gunicorn -c python:itemsite.gunicorn itemsite.wsgi``."""

from typing import Any

from itemsite.environment import WebEnvironment

_environment = WebEnvironment.read()

bind = _environment.bind
worker_class = "gthread"
workers = _environment.workers
threads = _environment.threads
keepalive = 30
timeout = 30
graceful_timeout = 10
accesslog = None
# One path for each user by default: a second gunicorn would take it from the first.
control_socket_disable = True


def worker_exit(server: Any, worker: Any) -> None:
    """Save what this worker has counted and not yet written to Redis."""
    # Not at the top: the master process must not load the application.
    from cachelayer import counters

    counters.flush()


def child_exit(server: Any, worker: Any) -> None:
    """Take a dead worker's gauges out of /metrics."""
    if _environment.metrics_dir:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
