"""The control: commit, then SET. What everybody writes first, and what goes stale."""

from typing import Any

from django.db import transaction

from cachelayer.redis import transport
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Note


def commit(pk: Any, **columns: Any) -> bytes:
    with transaction.atomic():
        note = Note._base_manager.select_for_update().get(pk=pk)
        for name, value in columns.items():
            setattr(note, name, value)
        # Past cachelayer's signals, so that only the naive SET below caches.
        Note._base_manager.filter(pk=pk).update(**columns)
    return registry.get(Note).render(note)


def put(pk: Any, row: bytes) -> None:
    transport.client().set(f"naive:{pk}", row)


def write(pk: Any, **columns: Any) -> None:
    put(pk, commit(pk, **columns))


def load(pk: Any) -> bytes:
    return registry.get(Note).render(Note._base_manager.get(pk=pk))


def read(pk: Any) -> bytes:
    cached: Any = transport.client().get(f"naive:{pk}")
    if cached is not None:
        return bytes(cached)
    row = load(pk)
    put(pk, row)
    return row
