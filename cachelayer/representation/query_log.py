"""Keeps the layer's own SQL out of Django's log of queries (``connection.queries``).

A project's tests count and compare this log (``assertNumQueries``, ``CaptureQueriesContext``), and
its tools show it. The layer's additions to a write would make the tests fail: its comment, the
BEGIN and COMMIT of a write in autocommit, and the rows that are read again before a COMMIT. The
logger ``django.db.backends`` still gets all SQL.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def unnoted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Statements on *connection* inside are not the project's, so the log does not show them."""
    if not connection.queries_logged:
        yield
        return
    # Use another log instead of removing entries, because a full log drops its oldest entries.
    kept, connection.queries_log = connection.queries_log, deque()
    try:
        yield
    finally:
        connection.queries_log = kept


def restore(cursor: Any, added: str, before: str = "") -> None:
    """Remove the *added* text from the last statement of *cursor* in the log.

    *cursor* is Django's; *before* is the text that was put in front.
    """
    query = getattr(cursor.cursor, "_query", None)
    # Django takes the text from here. If it is None, nothing was sent.
    if query is not None and query.query is not None:
        query.query = query.query.removesuffix(added.encode()).removeprefix(before.encode())
