"""The cache's part in the COMMIT of one transaction: one mark on all its keys, then the push.

What is pushed are the rows as the transaction leaves them in the database (``written_rows.py``).
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from itertools import count

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import conf, events
from cachelayer.exceptions import Barred, CacheUnavailable
from cachelayer.protocol import (
    drain,
    key_states,
    partition,
    reconcile,
    scan,
    watchdog,
    write_timer,
    written_rows,
)
from cachelayer.protocol.written_rows import Known
from cachelayer.redis import epoch, transport
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import gate
from cachelayer.representation import relations
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log, session
from cachelayer.tracking.notices import Notice

logger = logging.getLogger("cachelayer.commit")

#: The only level at which a transaction's rows are the last ones: elsewhere it may not see
#: what others have committed since it began.
_READ_COMMITTED = "read committed"
#: Of writes and savepoints, in their order.
numbers = count()


class Commit:
    """One transaction's mark, and all its keys with what they shall hold after the COMMIT."""

    def __init__(self, rows: Mapping[str, bytes], xid: int, epoch: str, every: set[str]) -> None:
        self.rows = rows
        self.spent = write_timer.Spent()
        self._xid, self._epoch = xid, epoch
        #: The prefixes of which every key is written: a TRUNCATE names no rows.
        self._every = every
        self._token = key_states.new_mark(xid)
        #: The keys whose mark Redis has confirmed. A mark without an answer may be
        #: set late, behind that of the next writer: what it stands for is not pushed.
        self._marked: list[str] = []
        self._pushed = False

    def mark(self, connection: BaseDatabaseWrapper) -> None:
        """Mark every key; put those that could not be into the repair log.

        A broken connection or a timeout is answered by one more try: a process that
        was only held up would write without a mark what others still hit. Whoever
        then goes without opens the gate, so that a reconcile follows.
        """
        epoch.hear_first(connection.alias, self._epoch)
        reconcile.probe_if_late(gate)
        logged = {f"{prefix}:{EVERY}" for prefix in self._every}
        if logged:
            logged |= {key for key in self.rows if relations.is_stamp(key.partition(":")[0])}
        try:
            try:
                counts = self._mark(connection.alias)
            except transport.BrokenConnection:
                self._token, self._marked = key_states.new_mark(self._xid), []
                counts = self._mark(connection.alias)
        except Barred:
            counts = False
        except CacheUnavailable as error:
            gate.open(error)
            counts = False
        if not counts:
            # All of them, also those that are marked. 1. A stamp is marked, its row is not, and
            # the row alone is logged. 2. After the COMMIT the stamp is released. 3. A page is made
            # under a new stamp of the old row. 4. The row is repaired, and the page stays.
            logged |= self.rows.keys()
        if logged:
            if partition.is_on():
                partition.trust.declare(connection)
            repair_log.log(connection, logged)

    def _mark(self, using: str) -> bool:
        """Mark; answer whether the marks are where others read.

        Not where the server has another epoch than Postgres had when the rows were locked: an
        old primary that still answers, or a server that a proxy has led this connection to.
        """
        with self.spent.in_redis():
            for keys in batched(self.rows):
                found = key_states.mark(keys, self._token)
                self._marked += keys
                if epoch.of_database(found, using) != self._epoch:
                    gate.settle(f"Marks met a Redis of epoch {found}; Postgres has {self._epoch}.")
                    return False
        return True

    def push(self) -> None:
        """Push every row, once; never raises: the transaction is committed."""
        if not self._pushed:
            self._pushed = True
            # Before any stamp is released: a page could be made of what is not swept yet.
            self._sweep()
            are_all = len(self._marked) == len(self.rows)
            marked = self.rows if are_all else {key: self.rows[key] for key in self._marked}
            self._replace_marks(marked)
            if unmarked := [] if are_all else self.rows.keys() - marked.keys():
                _count_unsent(unmarked)
                watchdog.task.wake_now()
            self.spent.pushed()

    def withdraw(self) -> None:
        """Take the marks back: the server has rolled the transaction back."""
        self._pushed = True
        self._replace_marks(dict.fromkeys(self._marked, key_states.INVALIDATE))

    def _replace_marks(self, rows: Mapping[str, bytes]) -> None:
        # Rows before stamps, as in ``states.push``, also where they go in several batches.
        ordered = sorted(rows, key=lambda key: rows[key] == key_states.INVALIDATE)
        unsent = ordered
        try:
            for keys in batched(ordered):
                with self.spent.in_redis():
                    results = self._replace({key: rows[key] for key in keys})
                events.pushed(keys, results)
                unsent = unsent[len(keys) :]
        except CacheUnavailable:
            _count_unsent(unsent)
            logger.debug("Rows not pushed: Redis is away. The next reader replaces their marks.")

    def _replace(self, rows: Mapping[str, bytes]) -> list[str]:
        if any(rows.values()):
            return key_states.push(rows, self._token)
        return key_states.release(list(rows), self._token)

    def _sweep(self) -> None:
        """Repair every key of a table that was emptied, before the writer hears of its COMMIT.

        They are in the log as well: whoever drains that does so again if this process dies.
        """
        try:
            with self.spent.in_redis():
                for keys in batched(scan.keys(sorted(self._every))):
                    key_states.repair(keys, f"trusted {epoch.known()}")
        except (CacheUnavailable, *epoch.UNKNOWN):
            watchdog.task.wake_now()


def _count_unsent(keys: Collection[str]) -> None:
    events.pushed([*keys], ["unsent"] * len(keys))


class Write:
    """Rows that one statement of a transaction wrote; an on_commit hook."""

    __slots__ = ("__qualname__", "commit", "is_manual", "notice", "number", "rows")

    def __init__(self, rows: dict[str, Known], notice: Notice | None = None) -> None:
        #: Django 5.2 names a hook by it that has failed, and fails itself where there is none.
        self.__qualname__ = type(self).__qualname__
        self.rows = rows
        #: Later ones have larger numbers.
        self.number = next(numbers)
        #: The witness's word; None for a signal's.
        self.notice = notice
        self.commit: Commit | None = None
        #: Whether autocommit was switched off by hand: then no hook runs after the COMMIT.
        self.is_manual = False

    def __call__(self) -> None:
        if self.commit is None:
            # A hook that is run without a COMMIT of ours (a test that captures the hooks).
            forget(self.rows)
        else:
            self.commit.push()


def forget(keys: Iterable[str]) -> None:
    """Delete what is cached under *keys*, which nobody has marked; never raises."""
    try:
        for batch in batched(drain.expand(keys)):
            key_states.drop(batch)
    except CacheUnavailable as error:
        logger.debug("Rows not deleted: %s", error)


def prepare(connection: BaseDatabaseWrapper, writes: Iterable[Write]) -> Commit:
    """What the transaction on *connection* shall leave in the cache; a later write of a row wins.

    Reads what is not known. Never raises for a row that cannot be rendered: that is logged,
    and the row invalidated. Raises ``DatabaseError``.
    """
    witnessed = [(write, write.notice) for write in writes if write.notice]
    last: dict[str, Known] = {}
    for write, _ in witnessed:
        last.update(write.rows)
    if not witnessed:
        return Commit({}, 0, "", set())
    # A statement that names every row of a table names none of them besides.
    every = {
        prefix
        for write, notice in witnessed
        for prefix, ids in notice.keys.items()
        # Of stamps there is one for a statement that names no rows; it is marked as any other.
        if write.rows and ids == [EVERY] and not relations.is_stamp(prefix)
    }
    if every:
        last = {key: said for key, said in last.items() if key.partition(":")[0] not in every}
    is_current = all(notice.isolation == _READ_COMMITTED for _, notice in witnessed)
    is_current = is_current and session.is_neutral(connection)
    pushed = sum(said != key_states.INVALIDATE for said in last.values())
    if is_current and pushed <= conf.get().PUSH_LIMIT:
        rows = written_rows.Written(connection).rows(last)
    else:
        rows = dict.fromkeys(last, key_states.INVALIDATE)
    # Of several epochs the last: whoever reconciled since the first waits for this transaction.
    _, notice = witnessed[-1]
    return Commit(rows, notice.xid, notice.epoch, every)
