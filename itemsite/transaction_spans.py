"""Spans of transactions: what no cursor sees, BEGIN, COMMIT and ROLLBACK.

The instrumentation of psycopg makes a span of every statement that goes through a cursor.
Django turns autocommit off and on around a transaction, and psycopg sends the BEGIN of its
own accord with the first statement; so these are wrapped. A span ``transaction`` holds
them and all statements between; it ends before Django runs the on_commit hooks. Nothing is
made where the current span is not recorded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db.backends.postgresql.base import DatabaseWrapper
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from wrapt import wrap_function_wrapper

_tracer = trace.get_tracer("itemsite.transaction_spans")
#: On Django's connection: the span and the token that makes its parent current again.
_OPEN = "_open_transaction_span"


def instrument() -> None:
    """Wrap Django's Postgres connections, and psycopg's BEGIN, for this process."""
    wrap_function_wrapper(DatabaseWrapper, "_set_autocommit", _around_set_autocommit)
    wrap_function_wrapper(DatabaseWrapper, "_commit", _around_commit)
    wrap_function_wrapper(DatabaseWrapper, "_rollback", _around_rollback)
    wrap_function_wrapper(DatabaseWrapper, "_close", _around_close)
    wrap_function_wrapper(psycopg.Connection, "_start_query", _around_start_query)


def _around_set_autocommit(send: Callable[..., Any], connection: Any, args: Any, kw: Any) -> Any:
    [autocommit] = args
    try:
        return send(autocommit)
    finally:
        if autocommit:
            _end(connection)
        elif trace.get_current_span().is_recording():
            _end(connection)
            span = _tracer.start_span("transaction")
            token = context.attach(trace.set_span_in_context(span))
            setattr(connection, _OPEN, (span, token))


def _around_commit(send: Callable[..., Any], connection: Any, args: Any, kw: Any) -> Any:
    with _statement("COMMIT", connection.connection):
        return send()


def _around_rollback(send: Callable[..., Any], connection: Any, args: Any, kw: Any) -> Any:
    with _statement("ROLLBACK", connection.connection):
        return send()


def _around_close(send: Callable[..., Any], connection: Any, args: Any, kw: Any) -> Any:
    try:
        return send()
    finally:
        _end(connection)


def _around_start_query(send: Callable[..., Any], connection: Any, args: Any, kw: Any) -> Any:
    idle = psycopg.pq.TransactionStatus.IDLE
    if connection.autocommit or connection.pgconn.transaction_status != idle:
        return (yield from send())
    with _statement("BEGIN", connection):
        return (yield from send())


def _end(connection: Any) -> None:
    span, token = connection.__dict__.pop(_OPEN, (None, None))
    if span:
        context.detach(token)
        span.end()


@contextmanager
def _statement(name: str, connection: psycopg.Connection[Any] | None) -> Iterator[None]:
    if connection is None or not trace.get_current_span().is_recording():
        yield
        return
    attributes = {"db.system.name": "postgresql", "db.operation.name": name, "db.query.text": name}
    if not connection.closed:
        info = connection.info
        attributes |= {"db.namespace": info.dbname, "server.address": info.host}
    with _tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
