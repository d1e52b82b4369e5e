"""A fail-over by a real Sentinel: from a primary to a replica that lags behind it."""

import pytest
import redis

import cachelayer
from cachelayer import link
from cachelayer.gate import gate
from cachelayer.models import Repair
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.faults import closed, set_stars, stars
from cachelayer.tests.fresh import trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.ports import free_port
from itemsite.lab.process import Server
from itemsite.lab.redis_binary import find_server
from itemsite.lab.redis_server import Redis

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


class Sentinel(Server):
    """One that decides alone, and fast."""

    name = "Sentinel"

    def __init__(self, directory, primary):
        super().__init__(directory)
        self.port, self._primary = free_port(), primary
        # django-redis keeps a pool for each URL: each test has a service of its own.
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

    def knows_replica(self):
        with redis.Redis(port=self.port) as connection:
            return connection.info("sentinel")["master0"]["slaves"] == 1


@pytest.fixture
def servers(tmp_path, settings):
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
        settings.CACHES = {
            "default": {
                **cache,
                "LOCATION": f"redis://{sentinel.service}/0",
                "OPTIONS": {
                    **cache["OPTIONS"],
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": [("127.0.0.1", sentinel.port)],
                    "SOCKET_TIMEOUT": 0.5,
                    "SOCKET_CONNECT_TIMEOUT": 0.5,
                },
            }
        }
        trust_redis()
        until(sentinel.knows_replica)
        yield primary, replica, sentinel
    finally:
        for server in reversed(started):
            server.kill()
        settings.CACHES = {"default": cache}
        trust_redis()


def test_a_failed_over_redis_is_reconciled_before_a_read_believes_it(servers):
    primary, replica, sentinel = servers
    note = Note.objects.create(stars=1)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    with redis.Redis(port=replica.port) as held:
        until(lambda: held.get(f"note:{note.pk}"))
        # What comes now never reaches the replica: it keeps the row of before.
        primary.pause()
    set_stars(note, 2)
    assert Repair.objects.exists(), "nobody could mark"
    until(lambda: sentinel.primary() == replica.port)
    until(lambda: stars(note) == 2 and closed())
    assert gate.state.changes >= 2
    assert not Repair.objects.exists()
    set_stars(note, 3)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 3
    assert link.pool().get_connection().port == replica.port


def test_a_sentinel_that_is_gone_costs_no_request_its_time(servers):
    _, _, sentinel = servers
    note = Note.objects.create(stars=1)
    sentinel.kill()
    link.forget_connections()
    # Nobody says where Redis is, and by itself redis-py would ask again for seconds.
    asked = link.pool().sentinel_manager.sentinels
    assert [each.get_retry().get_retries() for each in asked] == [0]
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    set_stars(note, 2)
    assert stars(note) == 2
