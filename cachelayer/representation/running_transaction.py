"""Statements of ours inside a transaction that Django does not take for an ``atomic`` block.

That is a transaction while it commits, or of a program that has switched autocommit off.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def inside(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let ``atomic`` blocks be savepoints of the transaction that runs on *connection*.

    Without it, such a block takes itself for the outermost, and Django forgets to undo that if the
    connection is lost: 1. The block sets ``in_atomic_block``. 2. Its SAVEPOINT fails, so it is
    not entered and never left. 3. ``rollback()`` refuses to run in an atomic block, and ``close()``
    leaves it to the block's end to drop the connection. 4. Every later statement of this thread
    fails: "Cannot open a new connection in an atomic block."
    """
    if connection.in_atomic_block or connection.autocommit:
        yield
        return
    connection.in_atomic_block = True
    try:
        yield
    finally:
        connection.in_atomic_block = False
        if connection.closed_in_transaction:
            connection.connection = None
