"""Which Redis is this? One key says on which server it was written, and whether to trust it.

``cachelayer:incarnation`` holds ``<run_id>:<replication id> trusted|settling <epoch>``. A
server that restarted (empty or with old data) has another run_id; a replica that took over,
and a primary that was a replica in between, another replication id; after a FLUSHALL the key
is gone; where others have reconciled another server since,
Postgres has a later epoch. All are noticed before the first command of a connection, before
every lease and at every mark.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.exceptions import ResponseError

from cachelayer.redis import epoch as epochs
from cachelayer.redis import eviction, keyspace

KEY: Final = "cachelayer:incarnation"


class Nameless(ResponseError):  # noqa: N818  (as CacheUnavailable)
    """The server does not say who it is."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The key's content, beside the run_id of the server that was asked."""

    server: str
    written_on: str
    state: str
    epoch: str
    #: Why the server might evict marks; empty where it does not.
    danger: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether what this server holds was never reconciled with the database, or not last."""
        return self.server != self.written_on or self.epoch != epochs.known()

    @property
    def evicts_marks(self) -> bool:
        return bool(self.danger)

    @property
    def is_trusted(self) -> bool:
        return not self.distrust

    @property
    def distrust(self) -> str:
        """Why reads must not believe this Redis; empty when they may."""
        if self.evicts_marks:
            return self.danger
        if self.server != self.written_on:
            return "This Redis has restarted, failed over or been flushed."
        if self.epoch != epochs.known():
            return (
                f"This Redis has epoch {self.epoch}, Postgres {epochs.known()}: another was used."
            )
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


def fetch(connection: Any) -> Incarnation:
    """Ask the server behind *connection* (redis-py's) who it is. Raises ``RedisError``."""
    key = keyspace.prefix_by(partial(ask, connection)) + KEY
    info, value = map(_unless_refused, ask(connection, ("INFO",), ("GET", key)))
    memory = eviction.memory(info, partial(ask, connection))
    return parse(info, value, memory)


def ask(connection: Any, *commands: tuple[Any, ...]) -> list[Any]:
    """The answers of *connection*; a refusal is a ``ResponseError`` among them."""
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [answer(connection) for _ in commands]


def parse(info: Any, value: bytes | None, memory: eviction.Memory) -> Incarnation:
    parts = eviction.text(value or b"").split(" ")
    written_on, state, epoch = parts if len(parts) == 3 else ("", "", "")
    run_id, term = eviction.field(info, "run_id"), eviction.field(info, "master_replid")
    if run_id is None or term is None:
        raise Nameless(
            "INFO says no run_id or no master_replid: the cache layer does not know this server."
        )
    server = f"{run_id}:{term}"
    return Incarnation(server, written_on, state, epoch, memory.danger)


def answer(connection: Any) -> Any:
    """The next one; a refusal is a ``ResponseError``."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _unless_refused(given: Any) -> Any:
    if isinstance(given, ResponseError):
        raise given
    return given
