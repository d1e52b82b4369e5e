"""Force an interleaving: stop a thread at a step of the protocol, let others pass it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db import connection, connections

from cachelayer.protocol import key_states
from cachelayer.redis import shards

#: Seconds after which a step that is not reached has failed the test.
DEADLINE = 20
#: The steps that have another name on Redis Cluster.
_OF_SHARDS = {"mark": "mark_shards", "repair": "repair_shards"}


class Pause:
    """One call stopped at a step. ``reached()`` waits for it, ``release()`` lets it go on."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._released = threading.Event()
        self._taken = threading.Lock()

    def stop_here(self) -> None:
        if self._taken.acquire(blocking=False):
            self._reached.set()
            assert self._released.wait(DEADLINE), "the test never released this step"

    def reached(self) -> None:
        assert self._reached.wait(DEADLINE), "this step was never reached"

    def release(self) -> None:
        self._released.set()


@contextmanager
def stopped(owner: Any, name: str, *, after: bool = False) -> Iterator[Pause]:
    """The first call of ``owner.name`` stops before it (or *after* it); later calls pass.

    *owner* is a module or a class.
    """
    if owner is key_states and shards.are_used():
        name = _OF_SHARDS.get(name, name)
    pause = Pause()
    original: Callable[..., Any] = getattr(owner, name)

    def step(*args: Any, **kwargs: Any) -> Any:
        if not after:
            pause.stop_here()
        result = original(*args, **kwargs)
        if after:
            pause.stop_here()
        return result

    with mock.patch.object(owner, name, step):
        try:
            yield pause
        finally:
            pause.release()


_pool = ThreadPoolExecutor(max_workers=8)


def start(function: Callable[..., Any], *args: Any, **kwargs: Any) -> "Future[Any]":
    """Run *function* in a thread with database connections of its own."""

    def run() -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return _pool.submit(run)


def wait_for_a_blocked_backend() -> None:
    """Until a connection to this database waits for a lock."""
    with connection.cursor() as cursor:
        for _ in range(100_000):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
    raise AssertionError("no backend ever waited for the row lock")
