"""``cachelayer.document``: any bytes that a function computes from the database, cached."""

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from cachelayer.protocol import reads
from cachelayer.protocol.reads import Read
from cachelayer.representation import computed, registration, registry
from cachelayer.representation.computed import Computed, Rows
from cachelayer.representation.relations import AnyModel


class Document:
    """A function whose bytes are cached. Called with its arguments, it answers the bytes."""

    def __init__(self, cached: Computed) -> None:
        self.cached = cached
        update_wrapper(self, cached.function)

    def __call__(self, *values: Any) -> bytes:
        found = self.read(*values).row
        assert found is not None
        return found

    def read(self, *values: Any) -> Read:
        """The bytes, and whether they were a hit; never older than an acknowledged write.

        Raises ``ValidationError`` for values that cannot be in a key, what the function raises,
        and ``DatabaseError``.
        """
        return reads.read_one(self.cached, values)


def document(
    name: str,
    args: Sequence[str] = (),
    *,
    depends_on: "Iterable[Rows | AnyModel | str]",
    lifetime: float | None = None,
) -> Callable[[Callable[..., bytes]], Document]:
    """Cache what a function computes from the database.

    *name* begins the keys. *args* are the names of its arguments: text, whole numbers, truths or
    None, which are in the key. *depends_on* names all that it reads: a model, for any of its rows,
    or ``Rows(Book, author="author_id")``, for those that have an argument's value in a column. A
    write of any of these is seen by the next read. *lifetime* is in seconds (default ``ROW_TTL``).

    The function answers bytes that depend on nothing else: no request, no clock. It may be called
    again with the arguments of a key, to compare. Use this in a module that an
    ``AppConfig.ready()`` imports; the next ``migrate`` installs the triggers. Raises
    ``ImproperlyConfigured``.
    """

    def decorate(function: Callable[..., bytes]) -> Document:
        registration.refuse_prefix(name)
        cached = computed.make(name, args, depends_on, function, lifetime)
        if not registry.is_known(cached):
            refuse_late(f"The document {name!r}")
            registry.add(cached)
        return Document(cached)

    return decorate


def refuse_late(what: str) -> None:
    """Raise ``ImproperlyConfigured`` once every app is ready.

    1. A process looks whether the triggers are there. 2. Something is registered that needs more
    of them. 3. It is cached, and a writer whom no trigger notices changes it: stale.
    """
    if apps.ready:
        raise ImproperlyConfigured(
            f"{what} is registered too late: whether its tables have triggers was looked at when "
            "this process began. Import its module in AppConfig.ready()."
        )
