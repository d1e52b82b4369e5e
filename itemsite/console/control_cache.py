"""The control: a write-through cache as it is usually written, commit and then SET.

It lives beside the real one, in the same Redis, under its own keys, and it is told of
the very same writes. What makes it go stale, all of it real:

- Two writers commit in one order and SET in the other.
- A reader misses, loads the old row, and SETs it after a writer's SET.
- Redis is away at the SET, and comes back with the row from before.
- The process dies between COMMIT and SET.
"""

import contextlib
from typing import Any, Final
from uuid import UUID

from django_redis import get_redis_connection
from redis.exceptions import RedisError

import cachelayer
from cachelayer import conf
from items.models import Item

#: Seconds; that of the real one is about the same.
_TTL: Final = 300


def read(pk: UUID) -> tuple[bytes, bool]:
    """The row, and whether the cache had it. Raises ``Item.DoesNotExist``."""
    try:
        cached: bytes | None = _redis().get(_key(pk))
    except RedisError:
        cached = None
    if cached is not None:
        return cached, True
    row = cachelayer.render(Item.objects.get(pk=pk))
    put(pk, row)
    return row, False


def put(pk: UUID, row: bytes) -> None:
    """SET; a cache that is away is passed over."""
    with contextlib.suppress(RedisError):
        _redis().set(_key(pk), row, ex=_TTL)


def forget(pk: UUID) -> None:
    with contextlib.suppress(RedisError):
        _redis().delete(_key(pk))


def _key(pk: UUID) -> str:
    return f"naive:{pk}"


def _redis() -> Any:
    return get_redis_connection(conf.get().CACHE_ALIAS)
