"""The row that Redis has, under the key that the lab uses."""

import os
from typing import Any, Final

import redis.asyncio
from django_bolt import BoltAPI

_JSON: Final = [("content-type", "application/json")]
api = BoltAPI(enable_logging=False, compression=False)
_cache = redis.asyncio.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))

#: Bytes that are JSON already: to these django-bolt adds nothing.
Answer = tuple[int, list[tuple[str, str]], bytes]


@api.get("/health")
async def health() -> Any:
    """That it runs."""
    return {"status": "ok"}


@api.get("/items/{pk}")
async def read(pk: str) -> Any:
    """As it is in Redis; there is nothing behind it."""
    row: bytes | None = await _cache.get(f"item:{pk}")
    answer: Answer = (200, _JSON, row) if row else (404, _JSON, b"{}")
    return answer
