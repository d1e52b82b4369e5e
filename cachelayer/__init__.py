"""A write-through cache for Django models that can be trusted.

A read after an acknowledged write is never older than that write. Register a
model in its app's ``AppConfig.ready()``, ``migrate``, and read its rows with ``read``::

    cachelayer.register(Item, ItemSerializer)
    cachelayer.read(Item, pk).row
"""

from typing import TYPE_CHECKING, Any

from cachelayer import registry, rendering, timing
from cachelayer.etags import etag
from cachelayer.queryset import CachedManager, CachedQuerySet
from cachelayer.reads import Read, read, read_many, rows
from cachelayer.write import invalidate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model


def register(
    model: "type[Model]",
    serializer: rendering.Serializer,
    *,
    prefix: str | None = None,
    version: str = "",
    depends_on: "Iterable[str]" = (),
) -> None:
    """Cache the rows of *model*, rendered by *serializer*.

    *serializer* is a REST framework serializer class or any callable from an instance to a dict.
    It may show related rows: nested serializers, dotted sources and related fields are seen;
    what is not (a method, a property, a callable's own) *depends_on* names, as paths of relations:
    ``["author", "reviews__user"]``. A write of any of these rows is seen by the next read.
    *prefix* begins the keys (default: the model's name). A release whose *version* differs has
    rows of its own, as one whose serializer or columns differ: say another where what decides
    the bytes is neither (a constant in a file, say). Call it once per model, in
    ``AppConfig.ready()``; the next ``migrate`` installs the triggers. Raises
    ``ImproperlyConfigured``.
    """
    from cachelayer import signals

    cached = registry.make(model, serializer, prefix, version, depends_on)
    if registry.add(cached):
        signals.connect(cached)


def render(instance: Any) -> bytes:
    """The JSON bytes of *instance*: those that the API answers and the cache holds."""
    return registry.get(type(instance)).render(instance)


__all__ = [
    "CachedManager",
    "CachedQuerySet",
    "Read",
    "etag",
    "invalidate",
    "read",
    "read_many",
    "register",
    "render",
    "rows",
    "timing",
]
