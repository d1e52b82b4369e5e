"""Listening: how a connection learns from the triggers which cached rows its statements wrote.

Each statement that Django sends inside a transaction ends with a comment that asks for notices.
The triggers see the comment (``tracking/witness.sql``) and answer with a notice. psycopg hands it
over before ``execute()`` returns, in the same round trip. The comment is in the statement and not
in a setting of the connection, because behind PgBouncer another program would get the setting.

Statements that we cannot follow to their COMMIT have no such comment, so the triggers log their
keys: a statement with a COMMIT in it, one outside Django's cursors (COPY, psycopg itself), and
one in autocommit that is not plainly a write to a cached table. A plain write in autocommit gets a
transaction.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from cachelayer import conf
from cachelayer.protocol import write, write_timer
from cachelayer.redis import keyspace, shards
from cachelayer.redis.gate import gate
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.representation import query_log, registry
from cachelayer.tracking import session, tracked_tables
from cachelayer.tracking.notices import SQLSTATE, Notice

COMMENT: Final = " /*cachelayer*/"
_BEGIN: Final = "BEGIN; "
_LISTENER: Final = "cachelayer_listener"

_Execute = Callable[..., Any]

#: Matches a statement that ends or begins a transaction, in a text of several statements.
_CONTROL: Final = re.compile(
    r"(?:^|;)\s*(?:commit|end|abort|rollback(?!\s+to)|begin|start|prepare\s+transaction)\b", re.I
)
_DOLLAR_QUOTED: Final = re.compile(r"\$(\w*)\$.*?\$\1\$", re.S)
_SAVEPOINT: Final = re.compile(
    r'\s*(savepoint|rollback\s+to(?:\s+savepoint)?)\s+"?([^\s";]+)', re.I
)
_WRITE: Final = re.compile(
    r"(?:\s|/\*.*?\*/|--[^\n]*\n)*(?:insert|update|delete|merge|with|truncate)\b", re.I | re.S
)


class Listener:
    """An execute wrapper of one Django connection, which stays as long as the connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._heard: list[Notice] = []

    def hear(self, diagnostic: Any) -> None:
        """Take a notice. psycopg calls this while a statement runs."""
        if diagnostic.sqlstate == SQLSTATE:
            message, detail = diagnostic.message_primary, diagnostic.message_detail
            hint, table = diagnostic.message_hint, diagnostic.table_name
            self._heard.append(Notice.of(message, detail, hint, table))

    def __call__(
        self, execute: _Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        # With the cache off, this process is like any other program: its writes are logged.
        if not isinstance(sql, str) or not conf.get().ENABLED:
            return execute(sql, params, many, context)
        if not self._connection.autocommit:
            return self._in_transaction(execute, sql, params, many, context)
        if _writes_cached_table(sql, self._connection.alias):
            with (
                query_log.unnoted(self._connection),
                transaction.atomic(using=self._connection.alias, savepoint=False),
            ):
                if not many and self._may_begin(context["cursor"]):
                    execute = _with_begin(self._connection, execute)
                return self._in_transaction(execute, sql, params, many, context)
        return execute(sql, params, many, context)

    def _in_transaction(
        self, execute: _Execute, sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if _ends_transaction(sql):
            write.give_up(self._connection)
            return execute(sql, params, many, context)
        try:
            result = execute(sql + COMMENT, params, many, context)
        except BaseException:
            self._heard.clear()  # Postgres rolls its writes back.
            raise
        finally:
            if self._connection.queries_logged:
                query_log.restore(context["cursor"], COMMENT, _BEGIN)
        if found := _SAVEPOINT.match(sql):
            write.savepoint(self._connection, found[1][0] in "sS", found[2])
        if self._heard:
            self.tell(not many and _plainly_wrote(sql, context["cursor"], self._heard))
        return result

    def _may_begin(self, cursor: Any) -> bool:
        """Whether a BEGIN may be put before the text of a transaction's first statement.

        A later wrapper may expect a text of one statement.
        """
        raw = self._connection.connection
        wrappers = self._connection.execute_wrappers
        behind = wrappers[wrappers.index(self) + 1 :]
        return (
            all(isinstance(each, write_timer.Clock) for each in behind)
            and session.takes_texts_of_several(cursor.cursor)
            and raw.isolation_level is raw.read_only is raw.deferrable is None
        )

    def tell(self, is_whole: bool = False) -> None:
        """Register the notices with the transaction; *is_whole*: their rows are final.

        If not, the same statement may have changed or rolled back a row after its notice: by a
        later trigger, or by a function that caught an error.
        """
        heard, self._heard = self._heard, []
        for notice in heard:
            write.witness(self._connection, notice, is_whole)


def _with_begin(connection: BaseDatabaseWrapper, execute: _Execute) -> _Execute:
    """*execute*, with a BEGIN that needs no extra round trip."""

    def begin_and_execute(sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        # Otherwise psycopg would send a BEGIN. Its COMMIT and ROLLBACK still work, because they ask
        # the server whether there is a transaction.
        connection.connection.autocommit = True
        result = execute(_BEGIN + sql, params, many, context)
        context["cursor"].cursor.nextset()
        return result

    return begin_and_execute


def _plainly_wrote(sql: str, cursor: Any, heard: list[Notice]) -> bool:
    """Whether *sql* is one plain write to one table, and the notices name exactly its rows."""
    [notice, *others] = heard
    head = f'{_HEADS[notice.operation]} "{notice.table}"' if notice.operation in _HEADS else ""
    return bool(
        not others
        and notice.depth == 1
        and head
        and sql.startswith(head)
        and all(len(keys) == cursor.rowcount for keys in notice.keys.values())
    )


_HEADS: Final = {"INSERT": "INSERT INTO", "UPDATE": "UPDATE", "DELETE": "DELETE FROM"}


def _ends_transaction(sql: str) -> bool:
    if ";" not in sql:  # True for nearly all, so that no long text is searched.
        return _CONTROL.match(sql) is not None
    return _CONTROL.search(_DOLLAR_QUOTED.sub("", sql)) is not None


def _writes_cached_table(sql: str, using: str) -> bool:
    if not _WRITE.match(sql) or ";" in sql.rstrip().rstrip(";"):
        return False
    pattern = _cached_tables(using)
    return pattern is not None and pattern.search(sql) is not None


@cache
def _cached_tables(using: str) -> re.Pattern[str] | None:
    names = [re.escape(table.name) for table in tracked_tables.tables_of(using)]
    return re.compile(rf"\b(?:{'|'.join(names)})\b", re.I) if names else None


def install(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Make *connection* listen, if it may write cached rows. Called at every connect."""
    if connection.vendor != "postgresql" or connection.alias not in registry.databases():
        return
    if keyspace.note(connection):
        reason = "The connection leads to another database than before."
        if shards.are_used():
            shard_gates.settle(range(shards.COUNT), reason)
        else:
            gate.settle(reason)
    listener = connection.__dict__.get(_LISTENER)
    if listener is None:
        listener = connection.__dict__[_LISTENER] = Listener(connection)
        # Insert it first. A block that wraps the connection's first statement has added its wrapper
        # already, and later removes the last one. That would be ours, and writes would go unseen.
        connection.execute_wrappers.insert(0, listener)
        write.intercept_commit(connection, listener.tell)
    raw: Any = connection.connection
    if not hasattr(raw, "cachelayer_home"):
        session.note_home(connection)
    # psycopg's pool hands out the same connection again and again.
    if not hasattr(raw, _LISTENER):
        raw.add_notice_handler(lambda diagnostic: getattr(raw, _LISTENER).hear(diagnostic))
    setattr(raw, _LISTENER, listener)


connection_created.connect(install, dispatch_uid="cachelayer.listener")
