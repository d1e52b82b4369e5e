"""Django's log of queries (``connection.queries``) has what the project sends, as it sends it.

A project's tests count and compare it (``assertNumQueries``, ``CaptureQueriesContext``), and its
tools show it. What the layer adds to a write would fail them: its comment, the BEGIN and
COMMIT of a write in autocommit, the rows that are read again before a COMMIT. The logger
``django.db.backends`` still has all of it.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def unnoted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """What is sent on *connection* inside is not the project's: its log has nothing of it."""
    if not connection.queries_logged:
        yield
        return
    # Another log, and nothing taken out of it: a log that is full drops its oldest entries.
    kept, connection.queries_log = connection.queries_log, deque()
    try:
        yield
    finally:
        connection.queries_log = kept


def restore(cursor: Any, added: str, before: str = "") -> None:
    """Let the log have the last statement of *cursor* without what was *added* to it.

    *cursor* is Django's; *before* is what was put in front.
    """
    query = getattr(cursor.cursor, "_query", None)
    # Where Django takes the text from; what it is None for was never sent.
    if query is not None and query.query is not None:
        query.query = query.query.removesuffix(added.encode()).removeprefix(before.encode())
