"""A Redis of a test's own: the fixtures ``own_redis``, and ``guarded`` in each way to reach one."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachelayer.redis import transport
from cachelayer.tests.fresh import trust_redis
from itemsite.lab.ports import free_port
from itemsite.lab.redis_server import Redis
from itemsite.tests.tls import Terminator

#: With what has a meaning in a URL.
PASSWORD = "p@ss:w/rd%20"
#: Seconds; who wants a timeout to pass takes a shorter one.
_PATIENT = 20.0
_SECRET = quote(PASSWORD, safe="")
_NAMED_USER = ["--user", "default", "off", "--user", "lab", "on", f">{PASSWORD}", "~*", "+@all"]


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any) -> Iterator[Redis]:
    """A Redis that this test may stop, kill and pause; the cache layer uses it."""
    server = Redis(tmp_path / "redis", free_port(), persistent=True)
    with _used(server, settings, server.url, 0.5):
        yield server


@pytest.fixture
def other_redis(tmp_path: Path) -> Iterator[Redis]:
    """One more, which the cache layer does not use by itself."""
    server = Redis(tmp_path / "other", free_port(), persistent=False)
    server.start()
    yield server
    server.kill()


class Guarded(Redis):
    """Answers only those who come to *url*."""

    url = ""

    def __init__(self, directory: Path, url: str, *options: str) -> None:
        port = free_port()
        super().__init__(directory, port, options=options)
        self.url = url.format(secret=_SECRET, port=port, directory=directory)

    def _answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        try:
            with redis.Redis.from_url(self.url, retry=once, socket_timeout=1) as connection:
                return bool(connection.ping())
        except redis.RedisError:
            return False


@pytest.fixture(params=["password", "user", "unix", "tls"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[Redis]:
    """A Redis as ``own_redis``, reached in each of the ways; ``tls`` asks for a user as well."""
    directory = tmp_path / "redis"
    match request.param:
        case "password":
            url = "redis://:{secret}@127.0.0.1:{port}/0"
            server = Guarded(directory, url, "--requirepass", PASSWORD)
        case "unix":
            url = "unix://{directory}/socket?db=0"
            server = Guarded(directory, url, "--port", "0", "--unixsocket", "socket")
        case _:
            server = Guarded(directory, "redis://lab:{secret}@127.0.0.1:{port}/0", *_NAMED_USER)
    if request.param != "tls":
        with _used(server, settings, server.url, _PATIENT):
            yield server
        return
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Terminator(server.port, context) as terminator:
        url = f"rediss://lab:{_SECRET}@127.0.0.1:{terminator.port}/0?ssl_ca_certs={tmp_path}/ca.pem"
        with _used(server, settings, url, _PATIENT):
            yield server


@contextmanager
def _used(server: Redis, settings: Any, location: str, timeout: float) -> Iterator[None]:
    """Start *server*; the cache layer comes to it at *location* until it is killed."""
    server.start()
    cache = settings.CACHES["default"]
    options = {**cache["OPTIONS"], "SOCKET_TIMEOUT": timeout, "SOCKET_CONNECT_TIMEOUT": timeout}
    settings.CACHES = {"default": {**cache, "LOCATION": location, "OPTIONS": options}}
    try:
        trust_redis()
        yield
    finally:
        server.kill()
        server.start()
        # By itself redis-py does not see of every idle connection that it was cut.
        transport.client().connection_pool.disconnect()
        trust_redis()
        server.kill()
