"""The cache's part in the COMMIT of one transaction: one mark on all its keys, then the push.

The push sends the rows as the transaction leaves them in the database (``written_rows.py``).
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from itertools import count

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import conf, events
from cachelayer.exceptions import Barred, BrokenConnection, CacheUnavailable
from cachelayer.protocol import (
    drain,
    drain_shards,
    key_states,
    key_values,
    partition,
    reconcile,
    reconcile_shards,
    scan,
    watchdog,
    write_timer,
    written_rows,
)
from cachelayer.protocol.written_rows import Known
from cachelayer.redis import cluster_transport, epoch, shards
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import gate
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.representation import relations
from cachelayer.representation.relations import EVERY
from cachelayer.tracking import repair_log, session
from cachelayer.tracking.notices import Notice

logger = logging.getLogger("cachelayer.commit")

#: The only isolation level at which a transaction reads the latest rows. At other levels it may
#: not see what others have committed since it began.
_READ_COMMITTED = "read committed"
#: Numbers writes and savepoints in their order.
numbers = count()


class Commit:
    """One transaction's mark, its keys, and the value of each key after the COMMIT."""

    def __init__(self, rows: Mapping[str, bytes], xid: int, epoch: str, every: set[str]) -> None:
        self.rows = rows
        self.spent = write_timer.Spent()
        self._xid, self._epoch = xid, epoch
        #: The prefixes of which every key is written, because a TRUNCATE names no rows.
        self._every = every
        self._token = key_values.new_mark(xid)
        #: The keys whose mark Redis has confirmed. A mark without an answer may be set late,
        #: behind the next writer's mark, so its row is not pushed.
        self._marked: list[str] = []
        self._pushed = False

    def mark(self, connection: BaseDatabaseWrapper) -> None:
        """Mark every key. Log the keys for repair if they could not be marked.

        After a broken connection or a timeout, try once more: a process that was only held up
        would otherwise write without a mark, while others still hit. A write without a mark opens
        the gate, so that a reconcile follows.
        """
        epoch.hear_first(connection.alias, self._epoch)
        if shards.are_used():
            reconcile_shards.probe_if_late(set(map(shards.of, self.rows)))
        else:
            reconcile.probe_if_late(gate)
        logged = {f"{prefix}:{EVERY}" for prefix in self._every}
        if logged:
            logged |= {key for key in self.rows if relations.is_stamp(key.partition(":")[0])}
        try:
            try:
                counts = self._mark(connection.alias)
            except BrokenConnection:
                self._token, self._marked = key_values.new_mark(self._xid), []
                counts = self._mark(connection.alias)
        except Barred:
            counts = False
        except CacheUnavailable as error:
            gate.open(error)
            counts = False
        if not counts:
            # Log all keys, also the marked ones. Otherwise: 1. A stamp is marked, its row is not,
            # and only the row is logged. 2. After the COMMIT the stamp is released. 3. A page is
            # made from the old row under a new stamp. 4. The row is repaired, but the page stays.
            logged |= self.rows.keys()
        if logged:
            if partition.is_on():
                partition.trust.declare(connection)
            repair_log.log(connection, logged)

    def _mark(self, using: str) -> bool:
        """Mark; return whether others read from the server that has the marks.

        False if the server's epoch differs from the one that Postgres had when the rows were
        locked. Then it is an old primary that still answers, or a proxy has led this connection
        to another server.
        """
        with self.spent.in_redis():
            if shards.are_used():
                return self._mark_shards(using)
            for keys in batched(self.rows):
                found = key_states.mark(keys, self._token)
                self._marked += keys
                if epoch.of_database(found, using) != self._epoch:
                    gate.settle(f"Marked a Redis of epoch {found}; Postgres has {self._epoch}.")
                    return False
        return True

    def _mark_shards(self, using: str) -> bool:
        """As ``_mark``, on every node that can be reached; opens the gates of the others."""
        keys = [*self.rows]
        marked = key_states.mark_shards(keys, self._token, using, self._epoch)
        if marked.is_broken:
            # Another mark for all, because this one may be set late.
            self._token = key_values.new_mark(self._xid)
            marked = key_states.mark_shards(keys, self._token, using, self._epoch)
        self._marked = marked.keys
        for shard, error in marked.refused.items():
            if not isinstance(error, Barred):
                cluster_transport.open_node(shard, error)
        if marked.uncounted:
            shard_gates.settle(marked.uncounted, "Marked a node that others do not read.")
        return not (marked.refused or marked.uncounted)

    def push(self) -> None:
        """Push every row, once. Never raises, because the transaction is committed."""
        if not self._pushed:
            self._pushed = True
            # Sweep before a stamp is released, or a page could be made from unswept rows.
            self._sweep()
            are_all = len(self._marked) == len(self.rows)
            marked = self.rows if are_all else {key: self.rows[key] for key in self._marked}
            self._replace_marks(marked)
            if unmarked := [] if are_all else self.rows.keys() - marked.keys():
                _count_unsent(unmarked)
                watchdog.task.wake_now()
            self.spent.pushed()

    def withdraw(self) -> None:
        """Remove the marks, because the server has rolled the transaction back."""
        self._pushed = True
        self._replace_marks(dict.fromkeys(self._marked, key_values.INVALIDATE))

    def _replace_marks(self, rows: Mapping[str, bytes]) -> None:
        # Rows before stamps, as in ``key_states.push``, also across several batches.
        ordered = sorted(rows, key=lambda key: rows[key] == key_values.INVALIDATE)
        unsent = ordered
        try:
            for keys in batched(ordered):
                with self.spent.in_redis():
                    results = self._replace({key: rows[key] for key in keys})
                events.pushed(keys, results)
                unsent = unsent[len(keys) :]
        except CacheUnavailable:
            _count_unsent(unsent)
            logger.debug("Redis is away: rows were not pushed. The next reader replaces the marks.")

    def _replace(self, rows: Mapping[str, bytes]) -> list[str]:
        if any(rows.values()):
            return key_states.push(rows, self._token)
        return key_states.release(list(rows), self._token)

    def _sweep(self) -> None:
        """Repair every key of an emptied table, before the writer gets the answer to its COMMIT.

        The keys are also in the repair log, so a drain repairs them if this process dies.
        """
        if shards.are_used():
            with self.spent.in_redis():
                if self._every and not drain_shards.sweep(sorted(self._every)):
                    watchdog.task.wake_now()
            return
        try:
            with self.spent.in_redis():
                for keys in batched(scan.keys(sorted(self._every))):
                    key_states.repair(keys, f"trusted {epoch.known()}")
        except (CacheUnavailable, *epoch.UNKNOWN):
            watchdog.task.wake_now()


def _count_unsent(keys: Collection[str]) -> None:
    events.pushed([*keys], ["unsent"] * len(keys))


class Write:
    """The rows that one statement of a transaction wrote. It is an on_commit hook."""

    __slots__ = ("__qualname__", "commit", "is_manual", "notice", "number", "rows")

    def __init__(self, rows: dict[str, Known], notice: Notice | None = None) -> None:
        #: Django 5.2 logs the name of a failed hook, and fails itself if a hook has no name.
        self.__qualname__ = type(self).__qualname__
        self.rows = rows
        #: Later ones have larger numbers.
        self.number = next(numbers)
        #: The witness's notice; None if a signal announced the write.
        self.notice = notice
        self.commit: Commit | None = None
        #: Whether the program switched autocommit off. Then no hook runs after the COMMIT.
        self.is_manual = False

    def __call__(self) -> None:
        if self.commit is None:
            # The hook runs without our COMMIT, as in a test that captures hooks.
            forget(self.rows)
        else:
            self.commit.push()


def forget(keys: Iterable[str]) -> None:
    """Delete the values of *keys*, which have no marks; never raises."""
    try:
        for batch in batched(drain.expand(keys)):
            key_states.drop(batch)
    except CacheUnavailable as error:
        logger.debug("Rows not deleted: %s", error)


def prepare(connection: BaseDatabaseWrapper, writes: Iterable[Write]) -> Commit:
    """The ``Commit`` of the transaction on *connection*; of several writes to a row the last wins.

    Reads the rows that are not known. If a row cannot be rendered, that is logged and the row is
    invalidated. Raises ``DatabaseError``.
    """
    witnessed = [(write, write.notice) for write in writes if write.notice]
    last: dict[str, Known] = {}
    for write, _ in witnessed:
        last.update(write.rows)
    if not witnessed:
        return Commit({}, 0, "", set())
    # A statement that names every row of a table names no single rows.
    every = {
        prefix
        for write, notice in witnessed
        for prefix, ids in notice.keys.items()
        # Stamps have one key for a statement that names no rows; it is marked like any other.
        if write.rows and ids == [EVERY] and not relations.is_stamp(prefix)
    }
    if every:
        last = {key: said for key, said in last.items() if key.partition(":")[0] not in every}
    is_current = all(notice.isolation == _READ_COMMITTED for _, notice in witnessed)
    is_current = is_current and session.is_neutral(connection)
    pushed = sum(said != key_values.INVALIDATE for said in last.values())
    if is_current and pushed <= conf.get().PUSH_LIMIT:
        rows = written_rows.Written(connection).rows(last)
    else:
        rows = dict.fromkeys(last, key_values.INVALIDATE)
    # Of several epochs, take the last: a reconcile since the first waits for this transaction.
    _, notice = witnessed[-1]
    return Commit(rows, notice.xid, notice.epoch, every)
