"""Which Redis is this? One key says on which server it was written, and whether to trust it.

``cachelayer:incarnation`` holds ``<run_id> trusted|settling <nonce>``. A server
that restarted (empty or with old data) or a replica that took over has another
run_id; after a FLUSHALL the key is gone. Both are noticed before the first
command of a connection, and before every lease.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

KEY: Final = "cachelayer:incarnation"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The key's content, beside the run_id of the server that was asked."""

    server: str
    written_on: str
    state: str
    nonce: str

    @property
    def is_foreign(self) -> bool:
        """Whether what this server holds was never reconciled with the database."""
        return self.server != self.written_on

    @property
    def is_trusted(self) -> bool:
        return not self.is_foreign and self.state == "trusted"


def settling(server: str) -> str:
    """A new value for the key, with a nonce of its own."""
    return f"{server} settling {secrets.token_hex(8)}"


def trusted(settling_value: str) -> str:
    """The value that ends the settling of *settling_value*."""
    return settling_value.replace(" settling ", " trusted ")


def look(connection: Any) -> Incarnation:
    """Ask the server behind *connection* (redis-py's) who it is. Raises ``RedisError``."""
    connection.send_packed_command(
        connection.pack_commands([("INFO", "server"), ("GET", KEY)]), check_health=False
    )
    info, value = connection.read_response(), connection.read_response()
    return parse(_run_id(info), value)


def parse(server: str, value: bytes | None) -> Incarnation:
    parts = (value or b"").decode().split(" ")
    written_on, state, nonce = parts if len(parts) == 3 else ("", "", "")
    return Incarnation(server, written_on, state, nonce)


def _run_id(info: Any) -> str:
    text = info.decode() if isinstance(info, bytes) else str(info)
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:").strip()
    raise ValueError("INFO server says no run_id: this is no Redis that the cache layer knows.")
