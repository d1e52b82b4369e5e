"""The backend: ``ENGINE = "itemsite.database"``."""

import select
from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A health check that costs no round trip while there is nothing to find out.

    With ``CONN_HEALTH_CHECKS`` Django asks ``SELECT 1`` before the first query of every
    request. A server that has restarted, failed over or closed the connection has said so
    on it: then there is something to be read from its socket, and it is asked.
    """

    def is_usable(self) -> bool:
        """Whether the connection seems to be alive."""
        raw: Any = self.connection
        if raw is None or raw.closed:
            return False
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        return True if not poll.poll(0) else bool(super().is_usable())
