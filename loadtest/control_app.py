"""The control: a write-through cache as it is usually written, commit and then SET.

The same HTTP API as the real one for one item and for the newest, over the same table. Pages are
cached as they are loaded, and deleted after every commit. A cache that is away is passed over.
The storm must find stale reads here, of items and of pages, or it proves nothing.
"""

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qs

import psycopg
import redis
from psycopg.rows import dict_row

_TTL: Final = 300
_COLUMNS: Final = "id, name, description, price, created_at, updated_at"
_RETURNED: Final = f" RETURNING {_COLUMNS}"
#: A hash of the pages that are cached, by limit.
_PAGES: Final = "naive:pages"
_cache = redis.Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    socket_timeout=0.05,
    socket_connect_timeout=0.05,
)
_local = threading.local()

Answer = tuple[int, bytes]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application: ``gunicorn loadtest.control_app:application``."""
    headers = [("Content-Type", "application/json")]
    try:
        status, body = _answer(environ, headers)
    except psycopg.Error:
        _local.connection = None
        status, body = 503, b'{"detail": "Postgres does not answer."}'
    headers.append(("Content-Length", str(len(body))))
    start_response(f"{status} .", headers)
    return [body]


def _answer(environ: dict[str, Any], headers: list[tuple[str, str]]) -> Answer:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if path == "/health":
        _cached(lambda: _cache.ping())
        return 200, b'{"status": "ok"}'
    if path == "/cache/clear":
        _cached(lambda: [_cache.delete(key) for key in _cache.scan_iter("naive:*")])
        return 200, b"{}"
    if method == "POST":
        return _create(_body(environ))
    if path == "/items":
        return _read_list(int(parse_qs(environ["QUERY_STRING"])["limit"][0]), headers)
    pk = path.removeprefix("/items/")
    if method == "GET":
        return _read(pk, headers)
    return _delete(pk) if method == "DELETE" else _change(pk, _body(environ))


def _read(pk: str, headers: list[tuple[str, str]]) -> Answer:
    row = _cached(lambda: _cache.get(f"naive:{pk}"))
    headers.append(("X-Cache", "HIT" if row else "MISS"))
    if row is None:
        row = _query(
            f"SELECT {_COLUMNS} FROM items WHERE id = %s",
            [pk],
        )
        if row:
            _cached(lambda: _cache.set(f"naive:{pk}", row, ex=_TTL))
    return (200, row) if row else (404, b"{}")


def _read_list(limit: int, headers: list[tuple[str, str]]) -> Answer:
    page = _cached(lambda: _cache.hget(_PAGES, str(limit)))
    headers.append(("X-Cache", "HIT" if page else "MISS"))
    if page is None:
        page = _load_list(limit)
        _cached(lambda: _cache.hset(_PAGES, str(limit), page))
    return 200, page


def _load_list(limit: int) -> bytes:
    statement = f"SELECT {_COLUMNS} FROM items ORDER BY created_at DESC, id DESC LIMIT %s"
    rows = [_json(row) for row in _execute(statement, [limit + 1])]
    following = b'"there is one"' if len(rows) > limit else b"null"
    return b'{"items": [%b], "next": %b}' % (b", ".join(rows[:limit]), following)


def _create(body: dict[str, Any]) -> Answer:
    pk = str(uuid.uuid4())
    row = _query(
        "INSERT INTO items (id, name, description, price, created_at, updated_at) "
        "VALUES (%s, %s, %s, %s, now(), now())" + _RETURNED,
        [pk, body["name"], body.get("description", ""), body["price"]],
    )
    _store(pk, row)
    return 201, row


def _change(pk: str, body: dict[str, Any]) -> Answer:
    columns = [name for name in ("name", "description", "price") if name in body]
    changes = ", ".join(f"{name} = %s" for name in columns)
    row = _query(
        f"UPDATE items SET {changes}, updated_at = now() WHERE id = %s{_RETURNED}",
        [*(body[name] for name in columns), pk],
    )
    if not row:
        return 404, b"{}"
    _store(pk, row)
    return 200, row


def _delete(pk: str) -> Answer:
    row = _query(f"DELETE FROM items WHERE id = %s{_RETURNED}", [pk])
    _cached(lambda: _cache.delete(f"naive:{pk}", _PAGES))
    return (204, b"") if row else (404, b"{}")


def _store(pk: str, row: bytes) -> None:
    """Write through: the row is committed."""
    _cached(lambda: _cache.set(f"naive:{pk}", row, ex=_TTL))
    _cached(lambda: _cache.delete(_PAGES))


def _cached(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except redis.RedisError:
        return None


def _query(statement: str, values: list[Any]) -> bytes:
    """Run *statement*, committed; the row as JSON, empty if there is none."""
    rows = _execute(statement, values)
    return _json(rows[0]) if rows else b""


def _execute(statement: str, values: list[Any]) -> list[Any]:
    if getattr(_local, "connection", None) is None:
        _local.connection = psycopg.connect(
            os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row, connect_timeout=2
        )
    rows: list[Any] = _local.connection.execute(statement, values).fetchall()
    return rows


def _json(row: Any) -> bytes:
    return json.dumps(row, default=str).encode()


def _body(environ: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    return body
