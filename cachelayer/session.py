"""Settings of a session that change what Django reads: then it is not what everybody may see."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

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
