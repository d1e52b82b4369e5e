"""All registrations, and the registration that a key belongs to."""

import math
from collections.abc import Iterable, Iterator

from django.core.exceptions import ImproperlyConfigured

from cachelayer.representation import relations
from cachelayer.representation.computed import Computed
from cachelayer.representation.plans import Serializer
from cachelayer.representation.registration import AnyModel, CachedModel, refuse_prefix

#: The first representation of each model, and all others by their prefixes.
_registered: dict[AnyModel, CachedModel] = {}
_others: dict[str, CachedModel] = {}
_computed: dict[str, Computed] = {}

#: Everything that can be cached.
Cached = CachedModel | Computed


def make(
    model: AnyModel,
    serializer: Serializer,
    prefix: str | None = None,
    version: str = "",
    depends_on: Iterable[str] | None = None,
    lifetime: float | None = None,
) -> CachedModel:
    """A checked registration. The default key prefix is the model's name.

    For a further serializer of the model, it is ``<model>.<serializer>``.
    """
    if model._meta.abstract or model._meta.proxy:
        raise ImproperlyConfigured(
            f"{model.__name__} has no table. Register the model that has the table."
        )
    if len(model._meta.pk_fields) > 1:
        raise ImproperlyConfigured(
            f"{model.__name__} has a composite primary key, which cache keys do not support yet. "
            "Leave it out, or give it a primary key of one column."
        )
    prefix = prefix or _own_prefix(model, serializer)
    refuse_prefix(prefix)
    if lifetime is not None and not 0 < lifetime < math.inf:
        raise ImproperlyConfigured(
            f"{model.__name__} has a lifetime of {lifetime!r}. Set it to seconds above 0."
        )
    named = None if depends_on is None else tuple(depends_on)
    return CachedModel(model, serializer, prefix, version, named, lifetime=lifetime)


def _own_prefix(model: AnyModel, serializer: Serializer) -> str:
    name = model._meta.model_name or ""
    first = _registered.get(model)
    if first is None or first.serializer is serializer:
        return name
    return f"{name}.{getattr(serializer, '__name__', '?').lower()}"


def add(cached: Cached) -> bool:
    """Add *cached* to the registry; ``ImproperlyConfigured`` on a clash.

    Returns False if it is there already, so that a ``ready()`` may run twice.
    """
    if is_known(cached):
        return False
    if isinstance(cached, Computed):
        _computed[cached.prefix] = cached
    elif cached.by or cached.model in _registered:
        _others[cached.prefix] = cached
    else:
        _registered[cached.model] = cached
    return True


def is_known(cached: Cached) -> bool:
    """Whether *cached* is in the registry; ``ImproperlyConfigured`` on a clash."""
    for other in every():
        if other == cached:
            return True
        if _is_same(other, cached) or other.prefix == cached.prefix:
            raise ImproperlyConfigured(
                f"{cached.label} is registered with the key prefix "
                f"{cached.prefix!r}, which {other.label} already has. "
                "Register each serializer of a model once, with a unique prefix."
            )
    return False


def _is_same(one: Cached, other: Cached) -> bool:
    if isinstance(one, Computed) or isinstance(other, Computed):
        return False
    parts = ((each.model, each.serializer, each.by) for each in (one, other))
    return next(parts) == next(parts)


def find(model: AnyModel, serializer: Serializer | None = None, by: str = "") -> CachedModel | None:
    """A registration of *model* (or of the model that it proxies), or None.

    It is the first one, the one with *serializer*, or the one that is read *by* that field.
    """
    model = model._meta.concrete_model or model
    first = _registered.get(model)
    if first is None or (not by and (serializer is None or serializer is first.serializer)):
        return first
    serializer = serializer or first.serializer
    for other in _others.values():
        is_by = by in (other.by, other.by and other.field.name)
        if is_by and other.model is model and other.serializer is serializer:
            return other
    return None


def get(model: AnyModel, serializer: Serializer | None = None, by: str = "") -> CachedModel:
    """Like ``find``, but raises ``ImproperlyConfigured`` if there is none."""
    cached = find(model, serializer, by)
    if cached is None:
        raise ImproperlyConfigured(_missing(model, serializer, by))
    return cached


def _missing(model: AnyModel, serializer: Serializer | None, by: str) -> str:
    what = f"{model._meta.label} is not cached"
    shown = getattr(serializer, "__name__", "…")
    if by and find(model, serializer):
        return (
            f"{what} by {by!r}. Add read_by=[{by!r}] to its cachelayer.register(), then run "
            "`manage.py migrate`."
        )
    if serializer and find(model):
        what += f" as {shown} shows it"
    return (
        f"{what}. Call cachelayer.register({model.__name__}, {shown}) in its app's "
        "AppConfig.ready()."
    )


def of_model(model: AnyModel) -> Iterator[CachedModel]:
    """Every registration of *model*."""
    return (cached for cached in all_cached() if cached.model is model)


def all_cached() -> Iterator[CachedModel]:
    """Every registration of a model."""
    return iter((*_registered.values(), *_others.values()))


def all_computed() -> Iterator[Computed]:
    return iter(tuple(_computed.values()))


def every() -> Iterator[Cached]:
    yield from all_cached()
    yield from all_computed()


def databases() -> set[str]:
    """The aliases of the databases with cached rows."""
    return {cached.database for cached in every()}


def of_prefix(start: str) -> Cached | None:
    """The registration whose keys have *start* before the colon, or None in other releases."""
    prefix = start.rpartition("/")[2]
    for cached in _registered.values():
        if cached.prefix == prefix:
            return cached
    return _others.get(prefix) or _computed.get(prefix)


def model_of_prefix(start: str) -> CachedModel | None:
    """Like ``of_prefix``, but only for rows of a model, whose keys triggers name."""
    cached = of_prefix(start)
    return cached if isinstance(cached, CachedModel) else None


def kind_of(key: str) -> str:
    """``row``, ``document``, ``page`` or ``stamp``, for metrics."""
    prefix = key.partition(":")[0]
    if relations.is_stamp(prefix):
        return "stamp"
    cached = of_prefix(prefix)
    return cached.kind if cached else "row"


def is_of_documents(key: str) -> bool:
    """Whether the cached bytes of *key* also show other rows."""
    cached = of_prefix(key.partition(":")[0])
    return cached is not None and cached.is_document


def of_key(key: str) -> Cached:
    """The registration that *key* belongs to; ``ValueError`` if there is none."""
    if cached := of_prefix(key.partition(":")[0]):
        return cached
    known = ", ".join(f"{cached.prefix}:…" for cached in every())
    raise ValueError(f"{key!r} is not a key of a cached model. Keys look like {known}.")
