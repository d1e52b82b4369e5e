"""A Redis behind a real Sentinel: ``behind_sentinel``, with the settings of the docs."""

import ast

import pytest

from cachelayer.tests.fresh import trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.redis_sentinel import Sentinel, pair, replicate
from itemsite.tests.documented import DOCS, blocks


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
    primary, replica = pair(tmp_path)
    # django-redis keeps a pool for each URL: each test has its own service. One decides alone.
    sentinel = Sentinel(tmp_path / "sentinel", f"lab-{primary.port}", primary.port)
    started = [primary, replica, sentinel]
    cache = settings.CACHES["default"]
    try:
        primary.start()
        replica.start()
        replicate(replica, primary)
        sentinel.start()
        settings.CACHES = _documented(sentinel)
        trust_redis()
        until(sentinel.knows_replica)
        yield primary, replica, sentinel
    finally:
        for server in reversed(started):
            server.kill()
        settings.CACHES = {"default": cache}
        trust_redis()
