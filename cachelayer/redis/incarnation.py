"""Which Redis is this? One key names the server that it was written on, and its state of trust.

``cachelayer:incarnation`` holds ``<run_id>:<replication id> trusted|settling <epoch>``. A server
that restarted (empty or with old data) has another run_id. A replica that took over, or a primary
that was a replica in between, has another replication id. After a FLUSHALL the key is gone. If
another server has been reconciled since, Postgres has a later epoch. Each is noticed before the
first command of a connection, before every lease and at every mark.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.exceptions import ResponseError

from cachelayer.redis import epoch as epochs
from cachelayer.redis import eviction, keyspace

KEY: Final = "cachelayer:incarnation"


class Nameless(ResponseError):  # noqa: N818  (as CacheUnavailable)
    """The server does not identify itself."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The content of the key, and the run_id of the server that was asked."""

    server: str
    written_on: str
    state: str
    epoch: str
    #: Why the server may evict marks; "" if it cannot.
    danger: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether this server was never reconciled with the database, or is not the last one."""
        return self.server != self.written_on or self.epoch != epochs.known()

    @property
    def evicts_marks(self) -> bool:
        return bool(self.danger)

    @property
    def is_trusted(self) -> bool:
        return not self.distrust

    @property
    def distrust(self) -> str:
        """Why reads must not trust this Redis; "" if they may."""
        if self.evicts_marks:
            return self.danger
        if self.server != self.written_on:
            return "This Redis has restarted, failed over or been flushed."
        if self.epoch != epochs.known():
            return (
                f"This Redis has epoch {self.epoch}, but Postgres {epochs.known()}: another Redis "
                "was used since."
            )
        return "" if self.state == "trusted" else "A reconcile is under way."


def settling(server: str, epoch: str) -> str:
    """The value of the key while *server* is reconciled for *epoch*."""
    return f"{server} settling {epoch}"


def trusted(settling_value: str) -> str:
    """The trusted value that follows *settling_value*."""
    return settling_value.replace(" settling ", " trusted ")


def trusted_epoch(value: bytes | None) -> str:
    """The epoch for which the key's *value* is trusted; "" if it is not."""
    _, _, epoch = (value or b"").decode().partition(" trusted ")
    return epoch


def trusted_by(value: bytes | None, info: Any) -> str:
    """As ``trusted_epoch``; "" if the server of *info* is not the one that *value* names.

    *info* is the server's INFO replication (``who.lua``), asked after *value*. A server that is the
    named primary then was so before, because no replication id is given twice. Its replicas have
    copies of the key, and its id, but another role. (INFO for each shard would cost several times
    as much.)
    """
    if not value or not isinstance(info, bytes) or b"role:master" not in info:
        return ""
    name = info.partition(b"master_replid:")[2][:40]
    return trusted_epoch(value) if b":%b " % name in value else ""


def epoch_in(value: bytes | None) -> str:
    """The epoch in the key's *value*; "" if there is none."""
    return (value or b"").decode().rpartition(" ")[2]


def fetch(connection: Any) -> Incarnation:
    """Ask the server behind redis-py's *connection* to identify itself. Raises ``RedisError``."""
    key = keyspace.prefix_by(partial(ask, connection)) + KEY
    info, value = map(_unless_refused, ask(connection, ("INFO",), ("GET", key)))
    memory = eviction.memory(info, partial(ask, connection))
    return parse(info, value, memory)


def ask(connection: Any, *commands: tuple[Any, ...]) -> list[Any]:
    """The answers to *commands* on *connection*; a refusal is a ``ResponseError`` among them."""
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [answer(connection) for _ in commands]


def parse(info: Any, value: bytes | None, memory: eviction.Memory) -> Incarnation:
    parts = eviction.text(value or b"").split(" ")
    written_on, state, epoch = parts if len(parts) == 3 else ("", "", "")
    run_id, term = eviction.field(info, "run_id"), eviction.field(info, "master_replid")
    if run_id is None or term is None:
        raise Nameless(
            "INFO has no run_id or no master_replid, so the cache layer cannot identify the server."
        )
    server = f"{run_id}:{term}"
    return Incarnation(server, written_on, state, epoch, memory.danger)


def answer(connection: Any) -> Any:
    """The next answer; a refusal is returned as a ``ResponseError``."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _unless_refused(given: Any) -> Any:
    if isinstance(given, ResponseError):
        raise given
    return given
