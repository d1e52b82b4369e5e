"""A Redis behind a real Sentinel: ``behind_sentinel``, with the settings of the docs."""

import ast

import pytest
import redis

from cachelayer.tests.fresh import trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.ports import free_port
from itemsite.lab.process import Server
from itemsite.lab.redis_binary import find_server
from itemsite.lab.redis_server import Redis
from itemsite.tests.documented import DOCS, blocks


class Sentinel(Server):
    """One that decides alone, and fast."""

    name = "Sentinel"

    def __init__(self, directory, primary):
        super().__init__(directory)
        self.port, self._primary = free_port(), primary
        # django-redis keeps a pool for each URL: each test has its own service.
        self.service = f"lab-{self.port}"

    def start(self, timeout=30.0):
        self.directory.mkdir()
        settings = self.directory / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor {self.service} 127.0.0.1 {self._primary.port} 1\n"
            f"sentinel down-after-milliseconds {self.service} 500\n"
            f"sentinel failover-timeout {self.service} 3000\n"
        )
        self._spawn([find_server(), str(settings), "--sentinel"], cwd=self.directory)
        self._await(lambda: bool(self.primary()), timeout)

    def primary(self):
        """The port of the one that it calls the primary."""
        with redis.Redis(port=self.port) as connection:
            try:
                address = connection.sentinel_get_master_addr_by_name(self.service)
            except redis.RedisError:
                return None
            return address and int(address[1])

    def fail_over(self):
        """Whether it has begun to; it refuses until it has heard of the replica's health."""
        with redis.Redis(port=self.port) as connection:
            try:
                return connection.sentinel_failover(self.service)
            except redis.ResponseError:
                return False

    def knows_replica(self):
        with redis.Redis(port=self.port) as connection:
            return connection.info("sentinel")["master0"]["slaves"] == 1


def _documented(sentinel):
    """The settings of the guide, for this *sentinel*; a busy machine needs more time."""
    [block] = blocks(DOCS / "how-to" / "sentinel.md", "python")
    written = block.script.partition("CACHES = ")[2]
    written = written.replace("mymaster", sentinel.service).replace("26379", str(sentinel.port))
    caches = ast.literal_eval(written)
    caches["default"]["OPTIONS"] |= {"SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
    return caches


@pytest.fixture
def behind_sentinel(tmp_path, settings):
    """A primary, its replica and their Sentinel; the cache layer finds Redis through it."""
    primary = Redis(tmp_path / "primary", free_port(), persistent=False)
    replica = Redis(
        tmp_path / "replica",
        free_port(),
        persistent=False,
        options=["--replicaof", "127.0.0.1", str(primary.port)],
    )
    sentinel = Sentinel(tmp_path / "sentinel", primary)
    started = [primary, replica, sentinel]
    cache = settings.CACHES["default"]
    try:
        for server in started:
            server.start()
        settings.CACHES = _documented(sentinel)
        trust_redis()
        until(sentinel.knows_replica)
        yield primary, replica, sentinel
    finally:
        for server in reversed(started):
            server.kill()
        settings.CACHES = {"default": cache}
        trust_redis()
