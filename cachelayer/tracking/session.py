"""The state of a session: whether it reads rows as all others do, and what it accepts."""

import logging
import os
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import PipelineStatus, TransactionStatus

from cachelayer.representation import tenancy
from cachelayer.throttled_log import ThrottledLog
from cachelayer.tracking.notices import Notice

_log = ThrottledLog(logging.getLogger("cachelayer.session"))
os.register_at_fork(after_in_child=_log.start_afresh)


def is_neutral(connection: BaseDatabaseWrapper) -> bool:
    """Whether this session reads rows as every other session does.

    Django takes timestamps in the session's time zone, so they differ after the project's own
    ``SET TIME ZONE``. The server reports each change by itself.
    """
    raw: Any = connection.connection
    return raw is None or (
        raw.info.parameter_status("TimeZone") == connection.timezone_name and is_at_home(connection)
    )


def note_home(connection: BaseDatabaseWrapper) -> None:
    """Remember the schemas that a new *connection* reads from."""
    raw: Any = connection.connection
    raw.cachelayer_home = raw.info.parameter_status("search_path")


def is_at_home(connection: BaseDatabaseWrapper) -> bool:
    """Whether table names still mean the same as when *connection* was new.

    Postgres reports its search_path from version 18 on. For older versions, ``TENANT`` must tell.
    """
    raw: Any = connection.connection
    if raw is None or tenancy.may_be(connection.alias):
        return True
    here = raw.info.parameter_status("search_path")
    home = getattr(raw, "cachelayer_home", here)
    if here == home:
        return True
    if not getattr(raw, "cachelayer_strayed", False):
        raw.cachelayer_strayed = True
        _log.say(
            logging.WARNING,
            f"The search_path of this connection is {here}, but was {home} when it was opened, so "
            "it reads from Postgres. Set the search_path in OPTIONS of DATABASES. If each tenant "
            "has a schema, set CACHELAYER['TENANT'].",
        )
    return False


def was_neutral(connection: BaseDatabaseWrapper, notice: Notice) -> bool:
    """Whether the transaction of *notice* reads its rows as every reader does."""
    # Another role may not be allowed to read, or may see other rows.
    own_role = connection.settings_dict["OPTIONS"].get("assume_role") or "none"
    return notice.digits > 0 and notice.role == own_role and is_neutral(connection)


def takes_texts_of_several(cursor: Any) -> bool:
    """Whether one text may hold several statements, by the simple protocol.

    It may not if the server binds parameters, nor in a pipeline.
    """
    is_piped = cursor.connection.pgconn.pipeline_status != PipelineStatus.OFF
    return isinstance(cursor, psycopg.ClientCursor) and not is_piped


def has_failed(connection: BaseDatabaseWrapper) -> bool:
    """Whether Postgres accepts only a rollback in this transaction."""
    raw: Any = connection.connection
    return raw is not None and raw.info.transaction_status is TransactionStatus.INERROR
