"""Which Redis is this? One key says on which server it was written, and whether to trust it.

``cachelayer:incarnation`` holds ``<run_id> trusted|settling <nonce>``. A server
that restarted (empty or with old data) or a replica that took over has another
run_id; after a FLUSHALL the key is gone. Both are noticed before the first
command of a connection, and before every lease.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

KEY: Final = "cachelayer:incarnation"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The key's content, beside the run_id of the server that was asked."""

    server: str
    written_on: str
    state: str
    nonce: str
    #: Whether the server's policy takes keys without a TTL, as marks are.
    evicts_marks: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether what this server holds was never reconciled with the database."""
        return self.server != self.written_on

    @property
    def is_trusted(self) -> bool:
        return not self.distrust

    @property
    def distrust(self) -> str:
        """Why reads must not believe this Redis; empty when they may."""
        if self.evicts_marks:
            return (
                "This Redis may evict marks. Set its maxmemory-policy to volatile-lru "
                "or noeviction."
            )
        if self.is_foreign:
            return "This Redis has restarted, failed over or been flushed."
        return "" if self.state == "trusted" else "A reconcile is under way."


def settling(server: str) -> str:
    """A new value for the key, with a nonce of its own."""
    return f"{server} settling {secrets.token_hex(8)}"


def trusted(settling_value: str) -> str:
    """The value that ends the settling of *settling_value*."""
    return settling_value.replace(" settling ", " trusted ")


def look(connection: Any) -> Incarnation:
    """Ask the server behind *connection* (redis-py's) who it is. Raises ``RedisError``."""
    connection.send_packed_command(
        connection.pack_commands([("INFO",), ("GET", KEY)]), check_health=False
    )
    info, value = connection.read_response(), connection.read_response()
    return parse(info, value)


def parse(info: Any, value: bytes | None) -> Incarnation:
    parts = _text(value or b"").split(" ")
    written_on, state, nonce = parts if len(parts) == 3 else ("", "", "")
    return Incarnation(_field(info, "run_id"), written_on, state, nonce, evicts_marks(info))


def evicts_marks(info: Any) -> bool:
    """Whether the server that says *info* evicts keys that have no TTL."""
    unlimited = _field(info, "maxmemory", "0") == "0"
    return not unlimited and _field(info, "maxmemory_policy", "").startswith("allkeys")


def _field(info: Any, name: str, default: str | None = None) -> str:
    for line in _text(info).splitlines():
        if line.startswith(f"{name}:"):
            return line.removeprefix(f"{name}:").strip()
    if default is None:
        raise ResponseError(f"INFO says no {name}: the cache layer does not know this server.")
    return default


def _text(answer: Any) -> str:
    # A path in INFO may be in another encoding, and the key hold anything.
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
