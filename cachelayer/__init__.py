"""A write-through cache for Django models that can be trusted.

A read after an acknowledged write is never older than that write. Register a
model in its app's ``AppConfig.ready()``, ``migrate``, and read its rows with ``read``::

    cachelayer.register(Item, ItemSerializer)
    cachelayer.read(Item, pk).row
"""

from typing import TYPE_CHECKING

from cachelayer import timing
from cachelayer.protocol.async_reads import aread, aread_by, aread_many
from cachelayer.protocol.function_documents import document, refuse_late
from cachelayer.protocol.invalidation import invalidate
from cachelayer.protocol.reads import Read, read, read_by, read_many, rows
from cachelayer.representation import plans, registration, registry
from cachelayer.representation.computed import Rows
from cachelayer.representation.etags import etag
from cachelayer.representation.queryset import CachedManager, CachedQuerySet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model


def register(
    model: "type[Model]",
    serializer: plans.Serializer,
    *,
    prefix: str | None = None,
    version: str = "",
    depends_on: "Iterable[str] | None" = None,
    read_by: "Iterable[str]" = (),
    pages: "bool | Iterable[type[Model] | str]" = False,
    lifetime: float | None = None,
) -> None:
    """Cache the rows of *model*, rendered by *serializer*.

    *serializer* is a REST framework serializer class, or a callable that takes an instance and
    returns a dict. It may show related rows. The cache finds nested serializers, dotted sources
    and related fields by itself. *depends_on* names the relations that it cannot find (those that
    a method, a property or a callable reads), as paths: ``["author", "reviews__user"]``. After a
    write to any of these rows, the next read shows it. A row whose serializer reads more is not
    cached, and the log says so. An empty list states that there is nothing more to name.

    A model may have several serializers; ``read`` uses the first unless you name one. *read_by*
    names other unique columns for ``read_by``. With *pages*, a view may cache pages of these rows
    (``CachedViewMixin.list``); a list names the other models that filter them. Keys begin with
    *prefix* (default: the model's name; for a second serializer, the names of both). *lifetime* is
    how long a row stays cached, in seconds (default: ``ROW_TTL``). Releases share cached rows only
    if their serializer, columns and *version* are equal. Change *version* when something else
    decides the bytes, such as a constant in a file.

    Call it in ``AppConfig.ready()``; the next ``migrate`` installs the triggers. Raises
    ``ImproperlyConfigured``; with *pages*, ``ImportError`` without the extra ``rest``.
    """
    from cachelayer.protocol import signals

    if pages:
        # First: without the extra "rest" this raises, and nothing has been registered.
        from cachelayer.contrib.rest.pages import Pages

    cached = registry.make(model, serializer, prefix, version, depends_on, lifetime)
    found = [cached, *(registration.by_column(cached, name) for name in read_by)]
    for each in found:
        if not registry.is_known(each):
            refuse_late(each.label)
            registry.add(each)
            signals.connect(each)
    if pages:
        registry.add(Pages.of(cached, () if pages is True else pages))


def render(instance: "Model", serializer: plans.Serializer | None = None) -> bytes:
    """The JSON bytes of *instance*: the API sends them and the cache holds them."""
    return registry.get(type(instance), serializer).render_loading(instance)


__all__ = [
    "CachedManager",
    "CachedQuerySet",
    "Read",
    "Rows",
    "aread",
    "aread_by",
    "aread_many",
    "document",
    "etag",
    "invalidate",
    "read",
    "read_by",
    "read_many",
    "register",
    "render",
    "rows",
    "timing",
]
