"""Writing: UPDATE (row lock) → mark → COMMIT → push.

A write of a cached row registers a ``Write`` with the transaction's on_commit
hooks. When Django sends COMMIT, the writes that are still there (a savepoint
that rolled back has taken its own away) are gathered into one ``Commit``: it
reads again the rows that are not known exactly, puts one mark on all keys, lets
the COMMIT go, and the hooks push. So a transaction costs two round trips to
Redis, however many rows it writes, and one that rolls back costs none.

Why just before COMMIT: every row is locked by then, so marks go on in the order
in which transactions commit; and no mark stands while a long transaction works.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.db import Error, connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError
from psycopg.pq import TransactionStatus

from cachelayer import (
    conf,
    link,
    metrics,
    reconcile,
    registry,
    repair,
    states,
    strict,
    timing,
    watch,
    write_clock,
)
from cachelayer.batches import batched
from cachelayer.gate import Barred, CacheUnavailable, gate
from cachelayer.registry import CachedModel

logger = logging.getLogger("cachelayer.write")


class Write:
    """Rows of one model that a transaction wrote; an on_commit hook.

    ``rows`` maps primary keys to the bytes to push, ``states.NULL`` for a
    deleted row, or None where the row must be read again before COMMIT.
    """

    __slots__ = ("cached", "commit", "rows")

    def __init__(self, cached: CachedModel, rows: dict[Any, bytes | None]) -> None:
        self.cached = cached
        self.rows = rows
        self.commit: Commit | None = None

    def __call__(self) -> None:
        if self.commit is None:
            # A hook that is run without a COMMIT of ours (a test that captures
            # the hooks): nothing is marked, so the push deletes.
            self.commit = Commit({self.cached.key(pk): states.INVALIDATE for pk in self.rows})
            self.commit.forget()
        self.commit.push()


class Commit:
    """The cache's part in the COMMIT of one transaction: one token, all its keys."""

    def __init__(self, rows: Mapping[str, bytes]) -> None:
        self.token = states.new_mark()
        self.rows = rows
        self._pushed = False
        #: The keys whose mark Redis has confirmed. A mark without an answer may be
        #: set late, over that of the next writer: what it stands for is not pushed.
        self._marked: list[str] = []
        self.spent = write_clock.Spent()

    def mark(self, connection: BaseDatabaseWrapper) -> None:
        """Mark every key; put those that could not be into the repair log.

        A broken connection or a timeout is answered by one more try: a process that
        was only held up would write without a mark what others still hit. Whoever
        then goes without opens the gate, so that a reconcile follows.
        """
        reconcile.look_if_late(gate)
        try:
            try:
                self._mark()
            except link.BrokenConnection:
                self.token, self._marked = states.new_mark(), []
                self._mark()
        except Barred:
            self._log_unmarked(connection)
        except CacheUnavailable as error:
            gate.open(error)
            self._log_unmarked(connection)

    def _mark(self) -> None:
        with self.spent.in_redis():
            for keys in batched(self.rows):
                states.mark(keys, self.token)
                self._marked += keys

    def _log_unmarked(self, connection: BaseDatabaseWrapper) -> None:
        if strict.is_on():
            strict.trust.declare(connection)
        repair.log(connection, self.rows.keys() - set(self._marked))

    def push(self) -> None:
        """Push every row, once; never raises: the transaction is committed."""
        if not self._pushed:
            self._pushed = True
            self._push({key: self.rows[key] for key in self._marked})
            if unmarked := len(self.rows) - len(self._marked):
                metrics.pushes["unsent"].inc(unmarked)
                watch.ticker.hurry()
            self.spent.pushed()

    def withdraw(self) -> None:
        """Take the marks back: the server has rolled the transaction back."""
        self._push(dict.fromkeys(self._marked, states.INVALIDATE))

    def forget(self) -> None:
        """Delete what stands under the keys, without marks; never raises."""
        self._pushed = True
        self._push(self.rows)

    def _push(self, rows: Mapping[str, bytes]) -> None:
        unsent = len(rows)
        try:
            for part in batched(rows.items()):
                with self.spent.in_redis():
                    results = states.push(dict(part), self.token)
                metrics.count_pushes(results)
                unsent -= len(part)
        except CacheUnavailable:
            metrics.pushes["unsent"].inc(unsent)
            logger.debug("Rows not pushed: Redis is away. Their marks expire.")


def record(using: str, cached: CachedModel, rows: Mapping[Any, bytes | None]) -> None:
    """Note that the running transaction has written *rows* and holds their locks."""
    if not rows:
        return
    connection = connections[using]
    if "commit" not in connection.__dict__:
        _intercept_commit(connection)
    to_python = cached.to_python
    write = Write(cached, {to_python(pk): row for pk, row in rows.items()})
    connection.on_commit(write, robust=True)


def invalidate(model: type[models.Model], *pks: Any, using: str | None = None) -> None:
    """Tell the cache that rows of *model* were written past the ORM (raw SQL).

    Call it inside the transaction that writes them; it locks the rows, and the
    committed rows are pushed when the transaction ends. Outside a transaction
    it starts one of its own, and a write that has been committed before is not
    covered against a crash between the two. Raises ``DatabaseError``.
    """
    cached = registry.get(model)
    using = using or router.db_for_write(model)
    with transaction.atomic(using=using, savepoint=False):
        # Without the lock, two transactions that wrote what the row is made of
        # could each read the row without the other's part, and push it.
        locked = cached.rows(using).filter(pk__in=pks).select_for_update(of=("self",))
        list(locked.values_list("pk"))
        record(using, cached, dict.fromkeys(pks))


def pending(using: str) -> Iterator[Write]:
    """The writes of the transaction that is running on *using*, oldest first."""
    for _, hook, *_ in connections[using].run_on_commit:
        if isinstance(hook, Write):
            yield hook


def written_pks(using: str, cached: CachedModel) -> set[Any]:
    """The rows of *cached* that the running transaction has written, uncommitted as yet."""
    return {pk for write in pending(using) if write.cached is cached for pk in write.rows}


def _intercept_commit(connection: BaseDatabaseWrapper) -> None:
    """Put the marks before every COMMIT that Django sends on *connection*.

    Django has no pre-commit hook. All its commits (``atomic``, manual ones) go
    through ``DatabaseWrapper.commit``, so that is shadowed on the instance.
    """
    send_commit = connection.commit

    def commit() -> None:
        commit_marked(connection, send_commit)

    connection.commit = commit  # type: ignore[method-assign]


def commit_marked(connection: BaseDatabaseWrapper, send_commit: Callable[[], None]) -> None:
    """Mark the pending writes of *connection*, then COMMIT."""
    writes = list(pending(connection.alias))
    if not writes:
        send_commit()
        return
    try:
        _refuse_failed_transaction(connection)
        marked = Commit(_rows_to_push(connection.alias, writes))
        for write in writes:
            write.commit = marked
        marked.mark(connection)
    except BaseException:
        # Django rolls back by itself on a DatabaseError only.
        try:
            connection.rollback()
        except Error:
            connection.close()
        raise
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


def _rows_to_push(using: str, writes: Iterable[Write]) -> dict[str, bytes]:
    """What each key shall hold after the COMMIT; a later write of a row wins."""
    last: dict[CachedModel, dict[Any, bytes | None]] = {}
    for write in writes:
        last.setdefault(write.cached, {}).update(write.rows)
    if sum(map(len, last.values())) > conf.get().PUSH_LIMIT:
        return {cached.key(pk): states.INVALIDATE for cached in last for pk in last[cached]}
    rows: dict[str, bytes] = {}
    for cached, written in last.items():
        unknown = [pk for pk, row in written.items() if row is None]
        written.update(read_rows(using, cached, unknown, lock=bool(cached.model._meta.parents)))
        for pk, row in written.items():
            rows[cached.key(pk)] = states.INVALIDATE if row is None else row
    return rows


def read_rows(
    using: str | None, cached: CachedModel, pks: Iterable[Any], *, lock: bool = False
) -> dict[Any, bytes]:
    """The rows of *pks* as Postgres has them, rendered; ``NULL`` where there is none.

    *lock* is for multi-table models, whose row spans tables that are locked
    one by one.
    """
    pks = list(pks)
    rows = dict.fromkeys(pks, states.NULL)
    if pks:
        # Not in the order of Meta.ordering: nobody asked for one.
        found = cached.rows(using).order_by()
        found = found.filter(pk=pks[0]) if len(pks) == 1 else found.filter(pk__in=pks)
        if lock:
            found = found.select_for_update()
        rows |= cached.load(found)
    return rows


def _refuse_failed_transaction(connection: BaseDatabaseWrapper) -> None:
    """Refuse to COMMIT what Postgres would silently roll back.

    After an SQL error that the program has caught, COMMIT is answered with
    ROLLBACK and no error; the hooks would push rows that were never committed.
    """
    if connection.connection.info.transaction_status is TransactionStatus.INERROR:
        raise TransactionManagementError(
            "An SQL error earlier in this transaction was caught, so Postgres will not commit it. "
            "Put the statement that may fail into a `transaction.atomic()` block of its own."
        )


def _server_has_ended_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether Postgres has answered COMMIT with an error: then it has rolled back.

    Not so when the connection broke: then the COMMIT may have happened, or may
    happen yet, and the marks must stay until they expire.
    """
    raw = connection.connection
    return raw is not None and raw.info.transaction_status is TransactionStatus.IDLE
