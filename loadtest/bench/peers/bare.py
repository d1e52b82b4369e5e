"""The least that Python can do: a constant, and one GET by redis-py.

``gunicorn loadtest.bench.peers.bare:redis_get``; with ``--worker-class asgi``
``…:constant_on_loop``.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis

_cache = redis.Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    socket_timeout=1,
    socket_connect_timeout=1,
)
_ROW: Final = (
    b'{"id":"00000000-0000-4000-8000-000000000001","name":"Item 1","description":"","price":1.0}'
)


async def constant_on_loop(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same bytes to everybody."""
    if scope["type"] != "http":
        return
    body = _health({"PATH_INFO": scope["path"]}) or _ROW
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def redis_get(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The value that Redis has, under the key that the lab uses."""
    body: Any = _health(environ) or _cache.get(f"item:{environ['PATH_INFO'][7:]}")
    return _answer(body or b"", start_response)


def _health(environ: dict[str, Any]) -> bytes:
    return b'{"status": "ok"}' if environ["PATH_INFO"] == "/health" else b""


def _answer(body: bytes, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = "200 OK" if body else "404 Not Found"
    start_response(
        status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]
