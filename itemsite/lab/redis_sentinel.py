"""A real Redis, its replica, and the Sentinels that watch them, on 127.0.0.1."""

from pathlib import Path
from typing import Any

import redis

from itemsite.lab.ports import free_port
from itemsite.lab.process import Server
from itemsite.lab.redis_binary import find_server
from itemsite.lab.redis_server import Redis


class Sentinel(Server):
    """One that watches the *service* whose first primary listens at *primary_port*."""

    name = "Sentinel"

    def __init__(
        self,
        directory: Path,
        service: str,
        primary_port: int,
        *,
        quorum: int = 1,
        down_after: int = 500,
    ) -> None:
        """*down_after* milliseconds without an answer, the primary is taken for dead."""
        super().__init__(directory)
        self.port, self.service = free_port(), service
        self._primary_port, self._quorum, self._down_after = primary_port, quorum, down_after

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until it knows the primary."""
        self.directory.mkdir(parents=True)
        settings = self.directory / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor {self.service} 127.0.0.1 {self._primary_port} {self._quorum}\n"
            f"sentinel down-after-milliseconds {self.service} {self._down_after}\n"
            f"sentinel failover-timeout {self.service} 3000\n"
        )
        self._spawn([find_server(), str(settings), "--sentinel"], cwd=self.directory)
        self._await(lambda: bool(self.primary()), timeout)

    def ask(self, *command: Any) -> Any:
        with redis.Redis(port=self.port, socket_timeout=5) as connection:
            return connection.execute_command(*command)

    def primary(self) -> int | None:
        """The port of the one that it calls the primary."""
        with redis.Redis(port=self.port) as connection:
            try:
                address = connection.sentinel_get_master_addr_by_name(self.service)
            except redis.RedisError:
                return None
            return int(address[1]) if address else None

    def fail_over(self) -> bool:
        """Whether it has begun to; it refuses until it has heard of the replica's health."""
        with redis.Redis(port=self.port) as connection:
            try:
                return bool(connection.sentinel_failover(self.service))
            except redis.ResponseError:
                return False

    def knows_replica(self) -> bool:
        with redis.Redis(port=self.port) as connection:
            return bool(connection.info("sentinel")["master0"]["slaves"] == 1)

    def knows(self, others: int) -> bool:
        """Whether it knows so many other Sentinels."""
        with redis.Redis(port=self.port) as connection:
            return bool(connection.info("sentinel")["master0"]["sentinels"] == others + 1)


def pair(directory: Path) -> tuple[Redis, Redis]:
    """Two Redis, not started yet; the second will ``replicate`` the first."""
    one, other = (
        Redis(directory / name, free_port(), persistent=False) for name in ("one", "other")
    )
    return one, other


def replicate(replica: Redis, primary: Redis) -> None:
    """Both run. Not by an option, which would come back with a restart, after a fail-over too."""
    with redis.Redis(port=replica.port) as connection:
        connection.replicaof("127.0.0.1", primary.port)
