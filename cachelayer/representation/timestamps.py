"""Loads the timestamps of many rows in less time, with the same result.

Django loads a timestamp by a regular expression and several calls in Python. In a query of plain
columns this takes longer than everything else together. While the session's time zone is UTC, as
Django sets it by default, Postgres writes what ``datetime.fromisoformat`` reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from django.db import connections
from django.db.backends.postgresql import psycopg_any
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format

_TYPE: Final = "timestamptz"


@contextmanager
def loaded_fast(using: str) -> Iterator[None]:
    """Inside, this thread's connection *using* loads timestamps by the shorter way."""
    connection: Any = connections[using]
    connection.ensure_connection()
    adapters: AdaptersMap = connection.connection.adapters
    loader = adapters.get_loader(adapters.types[_TYPE].oid, Format.TEXT)
    fast = _fast(loader)
    if loader is None or fast is None:
        yield
        return
    adapters.register_loader(_TYPE, fast)
    try:
        yield
    finally:
        adapters.register_loader(_TYPE, loader)


@lru_cache(maxsize=8)
def _fast(loader: Any) -> Any:
    """A loader like *loader*, which must be Django's own for UTC; else None."""
    djangos: Any = getattr(psycopg_any, "BaseTzLoader", None)
    is_djangos = djangos is not None and getattr(loader, "load", None) is djangos.load
    if not is_djangos or loader.timezone is not UTC:
        return None

    class FastLoader(loader):  # type: ignore[misc]
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            session = self.connection.info.parameter_status("TimeZone") if self.connection else ""
            self._is_utc = session == "UTC"

        def load(self, data: Buffer) -> Any:
            text = bytes(data)
            # Otherwise it is infinite, or before our era; or the session has another time zone,
            # in which two hours of a year have the same name.
            if self._is_utc and text.endswith(b"+00"):
                try:
                    return datetime.fromisoformat(text.decode())
                except ValueError:
                    pass  # Django's loader says what is wrong.
            return super().load(data)

    return FastLoader
