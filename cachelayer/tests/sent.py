"""What this thread sends to Postgres: the layer's statements as well, which no log has."""

import threading
from contextlib import contextmanager
from unittest import mock

import psycopg
from django.db import connection
from psycopg.pq import TransactionStatus

_execute = psycopg.Cursor.execute
_commit = psycopg.Connection.commit


@contextmanager
def sent():
    """Give a list that is filled with the texts of the block, and COMMIT where one goes.

    The BEGIN that psycopg puts before a transaction's first text is not in it.
    """
    connection.ensure_connection()  # A new one is told the time zone.
    texts = []
    thread = threading.current_thread()

    def execute(cursor, query, *args, **kwargs):
        if threading.current_thread() is thread:
            texts.append(query if isinstance(query, str) else query.as_string(cursor))
        return _execute(cursor, query, *args, **kwargs)

    def commit(connection):
        running = connection.info.transaction_status is not TransactionStatus.IDLE
        if running and threading.current_thread() is thread:
            texts.append("COMMIT")
        return _commit(connection)

    with (
        mock.patch.object(psycopg.Cursor, "execute", execute),
        mock.patch.object(psycopg.Connection, "commit", commit),
    ):
        yield texts


def heads(texts, words=1):
    """The first words of each."""
    return [" ".join(text.split()[:words]) for text in texts]
