"""Which Redis is this? One key says on which server it was written, and whether to trust it.

``cachelayer:incarnation`` holds ``<run_id> trusted|settling <epoch>``. A server
that restarted (empty or with old data) or a replica that took over has another
run_id; after a FLUSHALL the key is gone; where others have reconciled another server since,
Postgres has a later epoch. All are noticed before the first command of a connection, before
every lease and at every mark.
"""

from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from cachelayer import epoch as epochs

KEY: Final = "cachelayer:incarnation"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The key's content, beside the run_id of the server that was asked."""

    server: str
    written_on: str
    state: str
    epoch: str
    #: Whether the server's policy takes keys without a TTL, as marks are.
    evicts_marks: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether what this server holds was never reconciled with the database, or not last."""
        return self.server != self.written_on or self.epoch != epochs.known()

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
        if self.server != self.written_on:
            return "This Redis has restarted, failed over or been flushed."
        if self.epoch != epochs.known():
            return f"This Redis has epoch {self.epoch}, Postgres {epochs.known()}: another was used."
        return "" if self.state == "trusted" else "A reconcile is under way."


def settling(server: str, epoch: str) -> str:
    """The key's value while *server* is being reconciled for *epoch*."""
    return f"{server} settling {epoch}"


def trusted(settling_value: str) -> str:
    """The value that ends the settling of *settling_value*."""
    return settling_value.replace(" settling ", " trusted ")


def trusted_epoch(value: bytes | None) -> str:
    """The epoch that the key's *value* is trusted for; "" where it is not."""
    _, _, epoch = (value or b"").decode().partition(" trusted ")
    return epoch


def epoch_in(value: bytes | None) -> str:
    """The epoch that the key's *value* names; "" where there is none."""
    return (value or b"").decode().rpartition(" ")[2]


def look(connection: Any) -> Incarnation:
    """Ask the server behind *connection* (redis-py's) who it is. Raises ``RedisError``."""
    connection.send_packed_command(
        connection.pack_commands([("INFO",), ("GET", KEY)]), check_health=False
    )
    info, value = connection.read_response(), connection.read_response()
    return parse(info, value)


def parse(info: Any, value: bytes | None) -> Incarnation:
    parts = (value or b"").decode().split(" ")
    written_on, state, epoch = parts if len(parts) == 3 else ("", "", "")
    return Incarnation(_field(info, "run_id"), written_on, state, epoch, evicts_marks(info))


def evicts_marks(info: Any) -> bool:
    """Whether the server that says *info* evicts keys that have no TTL."""
    unlimited = _field(info, "maxmemory", "0") == "0"
    return not unlimited and _field(info, "maxmemory_policy", "").startswith("allkeys")


def _field(info: Any, name: str, default: str | None = None) -> str:
    text = info.decode() if isinstance(info, bytes) else str(info)
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.removeprefix(f"{name}:").strip()
    if default is None:
        raise ResponseError(f"INFO says no {name}: the cache layer does not know this server.")
    return default
