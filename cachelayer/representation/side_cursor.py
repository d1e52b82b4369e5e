"""A cursor for a short query to Postgres, from any thread and at any time."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.db import connections, transaction

from cachelayer.representation import query_log, running_transaction


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """A cursor of the database *using* for a query besides the thread's other work.

    A thread without a connection has none afterwards. Inside a transaction, the cursor uses the
    same connection, which may be the pool's last, and an error does not abort the transaction.
    """
    connection = connections[using]
    if connection.connection is None:
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as asking:
            yield asking
    else:
        noted, inside = query_log.unnoted(connection), running_transaction.inside(connection)
        with noted, inside, transaction.atomic(using=using), connection.cursor() as asking:
            yield asking
