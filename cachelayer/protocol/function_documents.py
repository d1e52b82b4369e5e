"""``cachelayer.document``: caches bytes that a function computes from the database."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper, wraps
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from cachelayer.protocol import async_reads, reads
from cachelayer.protocol.reads import Read
from cachelayer.representation import computed, registration, registry
from cachelayer.representation.computed import Computed, Rows
from cachelayer.representation.relations import AnyModel


class Document:
    """A function whose bytes are cached. A call with its arguments returns the bytes."""

    def __init__(self, cached: Computed) -> None:
        self.cached = cached
        update_wrapper(self, cached.function)

    def __call__(self, *values: Any) -> bytes:
        found = self.read(*values).row
        assert found is not None
        return found

    def read(self, *values: Any) -> Read:
        """The bytes, never older than an acknowledged write, and whether they were a hit.

        Raises ``ValidationError`` for values that cannot be in a key, ``DatabaseError``, and what
        the function raises.
        """
        return reads.read_one(self.cached, values)

    async def aread(self, *values: Any) -> Read:
        """As ``read``, from async code."""
        return await async_reads.read_one(self.cached, values)


class AsyncDocument(Document):
    """An ``async`` function whose bytes are cached. Awaited with its arguments, it answers them."""

    async def __call__(self, *values: Any) -> bytes:  # type: ignore[override]
        found = (await self.aread(*values)).row
        assert found is not None
        return found


def document(
    name: str,
    args: Sequence[str] = (),
    *,
    depends_on: "Iterable[Rows | AnyModel | str]",
    lifetime: float | None = None,
) -> Callable[[Callable[..., Any]], Document]:
    """Cache what a function computes from the database.

    *name* begins the keys. *args* are the names of the function's arguments. Their values become
    part of the key: text, whole numbers, booleans or None. *depends_on* names all rows that the
    function reads: a model for all its rows, or ``Rows(Book, author="author_id")`` for the rows
    that have the value of an argument in a column. After a write to any of these rows, the next
    read shows it. *lifetime* is in seconds (default ``ROW_TTL``).

    The bytes must depend on nothing else: no request, no clock. The function may be ``async``. It
    may be called again with the arguments of a key, to compare. Use this in a module that an
    ``AppConfig.ready()`` imports; the next ``migrate`` installs the triggers. Raises
    ``ImproperlyConfigured``.
    """

    def decorate(function: Callable[..., Any]) -> Document:
        registration.refuse_prefix(name)
        is_async = inspect.iscoroutinefunction(function)
        # What verifies and warms calls it from a thread.
        called = wraps(function)(async_to_sync(function)) if is_async else function
        cached = computed.make(name, args, depends_on, called, lifetime)
        if not registry.is_known(cached):
            refuse_late(f"The document {name!r}")
            registry.add(cached)
        return AsyncDocument(cached) if is_async else Document(cached)

    return decorate


def refuse_late(what: str) -> None:
    """Raise ``ImproperlyConfigured`` once every app is ready.

    1. A process checks that the triggers are installed. 2. A registration is added that needs more
    triggers. 3. Its rows are cached, and a write that no trigger sees changes them: stale.
    """
    if apps.ready:
        raise ImproperlyConfigured(
            f"{what} is registered too late: this process has already checked the triggers of "
            "tables. Import its module in AppConfig.ready()."
        )
