"""A cursor for a short query to Postgres, from any thread and at any time."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.db import connections, transaction

from cachelayer.representation import query_log


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """A cursor of the database *using* for a query besides the thread's other work.

    A thread without a connection has none afterwards. Inside a transaction, the cursor uses the
    same connection, which may be the pool's last, and an error does not abort the transaction.
    """
    if connections[using].connection is None:
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as asking:
            yield asking
    else:
        noted = query_log.unnoted(connections[using])
        with noted, transaction.atomic(using=using), connections[using].cursor() as asking:
            yield asking
