"""How long a write took, from its transaction's first statement to the end of its push.

The time is split into Postgres (statements and COMMIT) and Redis (marks and pushes); the rest is
the program's. Every connection of a process has one clock.
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
    """Times the statements of one connection, as an execute wrapper."""

    __slots__ = ("began", "postgres")

    def __init__(self) -> None:
        #: When the running transaction began, and the seconds of its statements since.
        self.began = time.perf_counter()
        self.postgres = 0.0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        connection = args[-1]["connection"].connection
        if connection is None or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            # Start here, because psycopg sends BEGIN with the first statement.
            self.began, self.postgres = start, 0.0
        try:
            return execute(*args)
        finally:
            self.postgres += time.perf_counter() - start


class Spent:
    """The time that one transaction has spent, in seconds."""

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
        """Note that the transaction on *connection* is committed; the COMMIT took *seconds*."""
        if clock := _of(connection):
            self.began, self.postgres = clock.began, clock.postgres + seconds

    def pushed(self) -> None:
        """Announce the times after the push, unless the transaction did not commit."""
        if self.began is not None:
            total = time.perf_counter() - self.began
            events.write_ended(total, self.postgres, self.redis)


def _of(connection: BaseDatabaseWrapper) -> Clock | None:
    return next((w for w in connection.execute_wrappers if isinstance(w, Clock)), None)


def install(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Give *connection* a clock once. The clock stays when Django reconnects."""
    if connection.vendor == "postgresql" and _of(connection) is None:
        # Insert it first, because a temporary wrapper later removes the last one.
        connection.execute_wrappers.insert(0, Clock())


connection_created.connect(install, dispatch_uid="cachelayer.write_clock")
