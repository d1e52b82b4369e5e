"""An async write-through cache as it is usually written: FastAPI, redis.asyncio, psycopg.

``uvicorn loadtest.bench.peers.fast_api:application``. Traces, metrics and a log line per
request are on, as services have them; the spans go to an exporter that drops them. With
OTEL_SDK_DISABLED=true in the environment nothing is instrumented, as in the lab.
What it needs is in loadtest/requirements.txt.
"""

import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio
from fastapi import FastAPI, Response
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter, Histogram
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, TypeAdapter

_COLUMNS: Final = "id, name, description, price::float8 AS price, created_at, updated_at"
_TTL: Final = 300
logger = logging.getLogger("bench.fast_api")
_requests = Counter("bench_requests", "Requests.", ["method", "outcome"])
_seconds = Histogram("bench_request_seconds", "Their time.", ["method"])


class Dropped(SpanExporter):
    """Spans end here; what another program does with them is not measured."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Body(BaseModel):
    """What a client sends."""

    name: str
    description: str = ""
    price: float


_IS_TRACED: Final = os.environ.get("OTEL_SDK_DISABLED") != "true"
if _IS_TRACED:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropped()))
    trace.set_tracer_provider(provider)
    RedisInstrumentor().instrument()
    PsycopgInstrumentor().instrument()
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
_to_json = TypeAdapter(dict[str, object]).dump_json
_cache = redis.asyncio.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncConnectionPool(
        os.environ["DATABASE_URL"], kwargs={"row_factory": dict_row, "autocommit": True}
    ) as pool:
        app.state.pool = pool
        yield


application = FastAPI(lifespan=_lifespan)
if _IS_TRACED:
    FastAPIInstrumentor.instrument_app(application)


def _note(method: str, outcome: str, start: float) -> None:
    """Metrics, and the line in the log."""
    took = time.perf_counter() - start
    _requests.labels(method, outcome).inc()
    _seconds.labels(method).observe(took)
    logger.info("%s item %s %.4f", method, outcome, took)


@application.get("/health")
async def health() -> dict[str, str]:
    """That it runs."""
    return {"status": "ok"}


@application.get("/items/{pk}")
async def read(pk: str) -> Response:
    """The row, from Redis if it is there."""
    start = time.perf_counter()
    row: Any = await _cache.get(f"async:{pk}")
    if row is not None:
        _note("GET", "HIT", start)
        return _answer(row, "HIT")
    row = await _query(f"SELECT {_COLUMNS} FROM bench_items WHERE id = %s", [pk])
    if row is None:
        return Response(b'{"detail": "There is no such item."}', 404)
    await _cache.set(f"async:{pk}", row, ex=_TTL)
    _note("GET", "MISS", start)
    return _answer(row, "MISS")


@application.put("/items/{pk}")
async def replace(pk: str, body: Body) -> Response:
    """Commit, then SET."""
    start = time.perf_counter()
    row = await _query(
        "UPDATE bench_items SET name = %s, description = %s, price = %s, updated_at = now() "
        f"WHERE id = %s RETURNING {_COLUMNS}",
        [body.name, body.description, body.price, pk],
    )
    if row is None:
        return Response(b'{"detail": "There is no such item."}', 404)
    await _cache.set(f"async:{pk}", row, ex=_TTL)
    _note("PUT", "", start)
    return _answer(row, "")


async def _query(statement: str, values: list[object]) -> bytes | None:
    async with application.state.pool.connection() as connection:
        row = await (await connection.execute(statement, values)).fetchone()
    return None if row is None else _to_json(row)


def _answer(row: bytes, outcome: str) -> Response:
    return Response(row, media_type="application/json", headers={"X-Cache": outcome})
