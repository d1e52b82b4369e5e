"""What a session says of itself: whether it reads as everybody does, and what it can take."""

from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import PipelineStatus, TransactionStatus

from cachelayer.notice import Notice


def is_neutral(connection: BaseDatabaseWrapper) -> bool:
    """Whether moments come as Django takes them: in the connection's own time zone.

    Django reads the wall clock of the session, whatever its zone: after a ``SET TIME ZONE`` of
    the project's own, that of another. The server reports each change by itself.
    """
    raw: Any = connection.connection
    return raw is None or raw.info.parameter_status("TimeZone") == connection.timezone_name


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
