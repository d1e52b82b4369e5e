"""``./lab servers``: the tests of ``cachelayer`` on servers that somebody else has started."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from itemsite.lab.errors import LabError

if TYPE_CHECKING:
    from redis import Redis

#: Seconds until a server that does not answer is given up.
_TIMEOUT: Final = 10
_EXAMPLE: Final = (
    "DATABASE_URL=postgres://user:password@127.0.0.1:5432/postgres "
    "REDIS_URL=redis://127.0.0.1:6379/0 ./lab servers"
)


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What tells the tests of these servers. ``LabError`` where one is not named."""
    names = ("DATABASE_URL", "REDIS_URL")
    if missing := [name for name in names if not environ.get(name)]:
        raise LabError(f"Say which servers: {' and '.join(missing)} is missing. {_EXAMPLE}")
    return {name: environ[name] for name in names} | {"SECRET_KEY": secrets.token_urlsafe(48)}


def versions(servers: Mapping[str, str]) -> str:
    """Which these are. ``LabError`` if one does not answer, or if this Redis is in use."""
    return f"{_postgres(servers['DATABASE_URL'])} and {_redis(servers['REDIS_URL'])}"


def _postgres(url: str) -> str:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=_TIMEOUT) as connection:
            version = connection.info.parameter_status("server_version") or ""
            # A distribution's own number may follow it.
            return f"Postgres {version.partition(' ')[0]}"
    except psycopg.OperationalError as error:
        raise LabError(
            f"The Postgres of DATABASE_URL does not answer ({str(error).strip()}); start it, or "
            "correct DATABASE_URL."
        ) from None


def _redis(url: str) -> str:
    """All of its databases must be empty: the tests send FLUSHALL."""
    import redis

    try:
        with _client(url) as client:
            info = client.info("server")
            keys = sum(database["keys"] for database in client.info("keyspace").values())
    except redis.RedisError as error:
        raise LabError(
            f"The Redis of REDIS_URL does not answer ({error}); start it, or correct REDIS_URL."
        ) from None
    if keys:
        raise LabError(
            f"The databases of the Redis of REDIS_URL hold {keys} keys, and the tests would delete "
            "them all; name a Redis in REDIS_URL that nobody else uses."
        )
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"


def empty_redis(servers: Mapping[str, str]) -> None:
    """Delete what the tests have left; a Redis that is gone has nothing to delete."""
    import redis

    with contextlib.suppress(redis.RedisError), _client(servers["REDIS_URL"]) as client:
        client.flushall()


def _client(url: str) -> "Redis":
    import redis

    return redis.Redis.from_url(url, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT)
