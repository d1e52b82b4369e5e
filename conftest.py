"""Every test starts with an empty Redis, a closed gate and no counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachelayer import conf, counters, livecheck, watch
from cachelayer.tests.fresh import trust_redis
from itemsite.lab.ports import free_port
from itemsite.lab.redis_server import Redis

pytest_plugins = ["itemsite.tests.browser", "itemsite.tests.sentinel", "pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compose",
        action="store_true",
        help="Also run the tests that start docker-compose.yml, on its real ports.",
    )


@pytest.fixture(autouse=True)
def _fresh_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    conf.get.cache_clear()
    # No test depends on a look that comes or does not come in time.
    monkeypatch.setattr(watch.ticker, "poke", lambda: None)
    monkeypatch.setattr(livecheck.ticker, "poke", lambda: None)
    counters.flush()
    trust_redis()
    yield
    trust_redis()


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any) -> Iterator[Redis]:
    """A Redis that this test may stop, kill and pause; the cache layer uses it."""
    server = Redis(tmp_path / "redis", free_port(), persistent=True)
    server.start()
    cache = settings.CACHES["default"]
    options = {**cache["OPTIONS"], "SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
    settings.CACHES = {"default": {**cache, "LOCATION": server.url, "OPTIONS": options}}
    trust_redis()
    try:
        yield server
    finally:
        server.kill()
        server.start()
        trust_redis()
        server.kill()
