"""Writing: statement (row lock) → mark → COMMIT → push.

Django's signals and the witness (``statement_listener.py``) register a write with the transaction
as an on_commit hook, a ``Write``. The witness decides what was really written. When Django sends
COMMIT, the writes that remain after rolled back savepoints become one ``Commit``. It reads rows
again if they are not known exactly, puts one mark on all keys, and lets the COMMIT go; then the
hooks push. So a transaction costs two round trips to Redis for each thousand keys, and none if it
rolls back.

The marks are set just before COMMIT for two reasons. Every row is locked by then, so marks are in
the order in which transactions commit. And no mark is there while a long transaction works.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError
from psycopg.pq import TransactionStatus

from cachelayer import conf, timing
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import commit, key_values
from cachelayer.protocol.commit import Write
from cachelayer.protocol.written_rows import Known
from cachelayer.representation import query_log, registration, registry, running_transaction
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log, session
from cachelayer.tracking.notices import Notice


def announce(using: str, cached: CachedModel, pk: Any) -> None:
    """A signal says that the running transaction has written this row.

    The witness knows whether it has. A row that the witness does not name was not written (a
    DELETE of a row that was gone, a save that the database refused), and is dropped.
    """
    connection = connections[using]
    if connection.autocommit or using != cached.database or not conf.get().ENABLED:
        return  # In autocommit, the statement has been pushed already, or its keys are logged.
    try:
        key = cached.key(cached.to_python(pk))
    except CacheUnavailable:
        return  # A row of a tenant that the cache does not follow.
    hooks = connection.run_on_commit
    last = hooks[-1][1] if hooks else None
    if not (isinstance(last, Write) and key in last.rows):
        register(connection, Write({key: None}))


def witness(connection: BaseDatabaseWrapper, notice: Notice, is_whole: bool) -> None:
    """The triggers say that the running transaction has written these rows, and locked them.

    *is_whole*: the notice has the rows as the statement has left them.
    """
    rows: dict[str, Known] = {}
    is_neutral = session.was_neutral(connection, notice)
    for prefix, ids in notice.keys.items():
        cached = registry.model_of_prefix(prefix)
        known: Known = None
        if not is_neutral or cached is None or not registration.is_pushed(cached):
            known = key_values.INVALIDATE
        elif is_whole and notice.operation == "DELETE":
            known = key_values.NULL
        elif is_whole and len(ids) == 1:
            known = notice.row or None
        texts = [text for text in ids if text is not None]
        rows |= dict.fromkeys(_keys(prefix, cached, texts), known)
    register(connection, Write(rows, notice))


def _keys(prefix: str, cached: CachedModel | None, texts: list[str]) -> list[str]:
    # "Every row" is not a primary key, so it cannot be converted.
    if cached is None or texts == [EVERY]:
        return [f"{prefix}:{text}" for text in texts]
    return cached.keys_of_texts(prefix, texts)


#: Connections that have written since they last had nothing pending.
_open: "weakref.WeakSet[BaseDatabaseWrapper]" = weakref.WeakSet()
_opening = threading.Lock()


def register(connection: BaseDatabaseWrapper, write: Write) -> None:
    """Make *write* a hook of the running transaction on *connection*."""
    if connection not in _open:
        with _opening:
            _open.add(connection)
    write.is_manual = not (connection.in_atomic_block and connection.commit_on_exit)
    if connection.in_atomic_block:
        connection.on_commit(write, robust=True)
    else:
        # Django accepts no hooks in this state.
        connection.run_on_commit.append((set(), write, True))  # type: ignore[arg-type]


def savepoint(connection: BaseDatabaseWrapper, begins: bool, name: str) -> None:
    """A savepoint begins, or everything since it began is rolled back.

    Django drops the hooks of its own savepoints. Hooks of a savepoint that was made by hand stay,
    but the rows that they know are wrong. These rows are not read again either, because their
    locks are gone, too. That costs two needless round trips, and does no harm.
    """
    begun: dict[str, int] = connection.__dict__.setdefault("cachelayer_savepoints", {})
    if begins:
        begun[name] = next(commit.numbers)
        return
    since = begun.get(name, -1)
    for write in pending(connection):
        if write.number > since:
            write.rows = dict.fromkeys(write.rows, key_values.INVALIDATE)


def is_open(keys: set[str], prefixes: set[str]) -> bool:
    """Whether a transaction of this process has written one of *keys*, or of *prefixes*.

    And has not committed yet. For code that does not know whose connection it would use.
    """
    if not _open:
        return False
    with _opening:
        for connection in [*_open]:
            if not connection.run_on_commit:
                _open.discard(connection)
        known = [*_open]
    return any(
        key in keys or key.partition(":")[0] in prefixes
        for connection in known
        for write in list(pending(connection))
        for key in [*write.rows]
    )


def give_up(connection: BaseDatabaseWrapper) -> None:
    """Log the written rows, because the next statement may end the transaction behind Django."""
    writes = list(pending(connection))
    if keys := {key for write in writes if write.notice for key in write.rows}:
        repair_log.log(connection, keys)
    for write in writes:
        write.rows = {}


def pending(connection: BaseDatabaseWrapper) -> Iterator[Write]:
    """The writes of the running transaction on *connection*, oldest first."""
    for _, hook, *_ in connection.run_on_commit:
        if isinstance(hook, Write):
            yield hook


def has_written(using: str, *keys: str) -> bool:
    """Whether the running transaction has written one of *keys* and not committed yet."""
    return any(key in write.rows for write in pending(connections[using]) for key in keys)


def has_written_of(using: str, prefixes: set[str]) -> bool:
    """Whether the running transaction has written a key with one of *prefixes*."""
    return any(
        key.partition(":")[0].rpartition("/")[2] in prefixes
        for write in pending(connections[using])
        for key in write.rows
    )


def intercept_commit(connection: BaseDatabaseWrapper, listen: Callable[[], None]) -> None:
    """Set the marks before every COMMIT that Django sends on *connection*.

    *listen* registers notices that are not registered yet. Django has no pre-commit hook, but all
    its commits (``atomic`` and manual ones) go through ``DatabaseWrapper.commit``. So that method
    is replaced on the instance.
    """
    send_commit = connection.commit

    def commit_marked() -> None:
        listen()
        _commit(connection, send_commit)

    connection.commit = commit_marked  # type: ignore[method-assign]


def _commit(connection: BaseDatabaseWrapper, send_commit: Callable[[], None]) -> None:
    """Mark the pending writes of *connection*, then COMMIT."""
    connection.validate_no_atomic_block()
    connection.__dict__.pop("cachelayer_savepoints", None)
    writes = list(pending(connection))
    if not writes:
        send_commit()
        return
    try:
        _refuse_failed_transaction(connection)
        with query_log.unnoted(connection), running_transaction.inside(connection):
            marked = commit.prepare(connection, writes)
            # An SQL error may be the reason why a row could not be read.
            _refuse_failed_transaction(connection)
            marked.mark(connection)
        _refuse_closed_connection(connection)
    except BaseException:
        # Django itself rolls back only on a DatabaseError.
        try:
            connection.rollback()
        except Error:
            connection.close()
        raise
    _send(connection, send_commit, marked)
    for write in writes:
        write.commit = marked
    if any(write.is_manual for write in writes):
        hooks = connection.run_on_commit
        connection.run_on_commit = [hook for hook in hooks if not isinstance(hook[1], Write)]
        marked.push()


def _send(
    connection: BaseDatabaseWrapper, send_commit: Callable[[], None], marked: commit.Commit
) -> None:
    start = time.perf_counter()
    try:
        send_commit()
        marked.spent.committed(connection, time.perf_counter() - start)
    except Exception:
        if _server_has_ended_transaction(connection):
            marked.withdraw()
        raise
    finally:
        timing.add_postgres(time.perf_counter() - start)


def _refuse_failed_transaction(connection: BaseDatabaseWrapper) -> None:
    """Refuse to COMMIT a transaction that Postgres would silently roll back.

    After an SQL error that the program has caught, Postgres answers COMMIT with ROLLBACK and no
    error, so the hooks would push rows that were never committed.
    """
    if session.has_failed(connection):
        raise TransactionManagementError(
            "An SQL error earlier in this transaction was caught, so Postgres will not commit it. "
            "Put the statement that may fail into a separate `transaction.atomic()` block."
        )


def _refuse_closed_connection(connection: BaseDatabaseWrapper) -> None:
    """Refuse a COMMIT that Django would not send, and would not miss: the write would be lost."""
    if connection.connection is None:
        raise OperationalError(
            "The connection was closed before the COMMIT, so Postgres has rolled the transaction "
            "back. Let no serializer close the connections, as close_old_connections() does."
        )


def _server_has_ended_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether Postgres has answered COMMIT with an error, and so has rolled back.

    False if the connection broke. Then the COMMIT may have happened, or may still happen, and the
    marks stay until a reader asks Postgres.
    """
    raw = connection.connection
    return raw is not None and raw.info.transaction_status is TransactionStatus.IDLE
