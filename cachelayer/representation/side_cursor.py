"""A short question to Postgres, wherever a thread happens to be."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.db import connections, transaction

from cachelayer.representation import query_log


@contextmanager
def cursor(using: str) -> Iterator[Any]:
    """A cursor of the database *using* for a question beside what the thread does.

    A thread that has no connection is left with none. Inside a transaction it is the same
    connection's (it may be the pool's last), and an error does not end the transaction.
    """
    if connections[using].connection is None:
        with closing(connections.create_connection(using)) as fresh, fresh.cursor() as asking:
            yield asking
    else:
        noted = query_log.unnoted(connections[using])
        with noted, transaction.atomic(using=using), connections[using].cursor() as asking:
            yield asking
