"""What a session says of itself: whether it reads as everybody does, and what it can take."""

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
    """Whether rows come as every other session reads them.

    Django reads the wall clock of the session, whatever its zone: after a ``SET TIME ZONE`` of
    the project's own, that of another. The server reports each change by itself.
    """
    raw: Any = connection.connection
    return raw is None or (
        raw.info.parameter_status("TimeZone") == connection.timezone_name and is_at_home(connection)
    )


def note_home(connection: BaseDatabaseWrapper) -> None:
    """Remember the schemas of a new *connection*: those that it reads from until it says others."""
    raw: Any = connection.connection
    raw.cachelayer_home = raw.info.parameter_status("search_path")


def is_at_home(connection: BaseDatabaseWrapper) -> bool:
    """Whether names of tables mean what they did when *connection* was new.

    Postgres reports its search_path from version 18 on; before, ``TENANT`` must tell.
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
            f"The search_path of this connection is {here}, and was {home} when it was opened: it "
            "reads from Postgres. Set it in OPTIONS of DATABASES; with a schema for each tenant, "
            "name the tenant with CACHELAYER['TENANT'].",
        )
    return False


def was_neutral(connection: BaseDatabaseWrapper, notice: Notice) -> bool:
    """Whether the transaction of *notice* reads its rows as any reader does."""
    # Another role may not be allowed to read, or see other rows.
    own_role = connection.settings_dict["OPTIONS"].get("assume_role") or "none"
    return notice.digits > 0 and notice.role == own_role and is_neutral(connection)


def takes_texts_of_several(cursor: Any) -> bool:
    """Whether several statements may go in one text, by the simple protocol.

    Not with parameters that the server binds, nor in a pipeline.
    """
    is_piped = cursor.connection.pgconn.pipeline_status != PipelineStatus.OFF
    return isinstance(cursor, psycopg.ClientCursor) and not is_piped


def has_failed(connection: BaseDatabaseWrapper) -> bool:
    """Whether Postgres takes nothing more in this transaction but a rollback."""
    raw: Any = connection.connection
    return raw is not None and raw.info.transaction_status is TransactionStatus.INERROR
