"""How long a write took, from its transaction's first statement to the end of its push.

Split into what Postgres took (statements and COMMIT) and what Redis took (marks and
pushes); the rest is the program's own. Every connection of a process has one clock.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from cachelayer import events


class Clock:
    """Of one connection: times its statements, as an execute wrapper of Django's."""

    __slots__ = ("began", "postgres")

    def __init__(self) -> None:
        #: When the transaction that runs began, and its statements' seconds since.
        self.began = time.perf_counter()
        self.postgres = 0.0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        connection = args[-1]["connection"].connection
        if connection is None or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            # Not when Django begins it: psycopg sends BEGIN with the first statement.
            self.began, self.postgres = start, 0.0
        try:
            return execute(*args)
        finally:
            self.postgres += time.perf_counter() - start


class Spent:
    """What one transaction has spent, in seconds."""

    __slots__ = ("began", "postgres", "redis")

    def __init__(self) -> None:
        self.began: float | None = None
        self.postgres = self.redis = 0.0

    @contextmanager
    def in_redis(self) -> Iterator[None]:
        """Count the block as time in Redis."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.redis += time.perf_counter() - start

    def committed(self, connection: BaseDatabaseWrapper, seconds: float) -> None:
        """The transaction on *connection* is committed; the COMMIT has taken *seconds*."""
        if clock := _of(connection):
            self.began, self.postgres = clock.began, clock.postgres + seconds

    def pushed(self) -> None:
        """That was all: note it. Nothing is noted of a transaction that did not commit."""
        if self.began is not None:
            total = time.perf_counter() - self.began
            events.write_ended(total, self.postgres, self.redis)


def _of(connection: BaseDatabaseWrapper) -> Clock | None:
    return next((w for w in connection.execute_wrappers if isinstance(w, Clock)), None)


def install(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Give *connection* a clock, once: it stays when Django connects again."""
    if connection.vendor == "postgresql" and _of(connection) is None:
        # In front: who wraps for a while takes the last one away again.
        connection.execute_wrappers.insert(0, Clock())


connection_created.connect(install, dispatch_uid="cachelayer.write_clock")
