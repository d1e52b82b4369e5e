"""The embedded servers keep their data."""

import redis

from itemsite.lab.ports import free_port
from itemsite.lab.redis_server import Redis


def test_redis_comes_back_with_its_data_after_a_stop(tmp_path):
    server = Redis(tmp_path / "redis", free_port())
    try:
        server.start()
        redis.Redis.from_url(server.url).set("cachelayer:counts", "7")
        server.stop()
        server.start()
        assert redis.Redis.from_url(server.url).get("cachelayer:counts") == b"7"
    finally:
        server.kill()
