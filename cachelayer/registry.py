"""Which models are cached, under which keys, and how a row of theirs is rendered."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models, router

from cachelayer import rendering
from cachelayer.rendering import Serializer

AnyModel = type[models.Model]
#: Keys of the cache layer itself begin with this and a colon.
RESERVED_PREFIX = "cachelayer"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A registered model: its key prefix and its serializer.

    The cached bytes are a pure function of the columns of one row of the
    model's table. ``reread`` says that the database changes rows as it writes
    them (triggers, rules), so that an instance in memory is never the row.
    """

    model: AnyModel
    serializer: Serializer
    prefix: str
    reread: bool = False

    def key(self, pk: Any) -> str:
        return f"{self.prefix}:{pk}"

    def to_python(self, pk: Any) -> Any:
        """*pk* in the one form that its key is made of; ``ValidationError`` if it is none."""
        pk_field = self.model._meta.pk
        assert pk_field is not None
        return pk_field.to_python(pk)

    def pk(self, key: str) -> Any:
        """The primary key in *key*; ``ValueError`` when it is no key of this model."""
        prefix, _, text = key.partition(":")
        try:
            pk = self.to_python(text)
        except ValidationError as error:
            raise ValueError(f"{key!r} has no {self.prefix} id after the colon.") from error
        if prefix != self.prefix or self.key(pk) != key:
            raise ValueError(f"{key!r} is no key of {self.prefix}.")
        return pk

    def render(self, instance: models.Model) -> bytes:
        """The bytes that the API answers for *instance*, and that the cache holds."""
        return self._checked(rendering.dump(rendering.data(self.serializer, instance)))

    def load(self, found: "models.QuerySet[Any]") -> dict[Any, bytes]:
        """The rows of *found*, a query of this model's, rendered, by primary key."""
        plan = rendering.plan_of(self.serializer, self.model)
        if plan is None or not rendering.are_values_enough(self.model):
            return {instance.pk: self.render(instance) for instance in found}
        # Without instances: half of what a row costs is to make one.
        return {
            pk: self._checked(rendering.dump(plan.data(values)))
            for pk, *values in found.values_list("pk", *plan.columns)
        }

    def _checked(self, row: bytes) -> bytes:
        if row[:1] != b"{":
            raise ImproperlyConfigured(
                f"The serializer of {self.model._meta.label} gives {row[:20]!r}…: a cached row "
                "is a JSON object. Register a serializer of one instance."
            )
        return row

    def rows(self, using: str | None = None) -> "models.QuerySet[Any]":
        """All rows, read where they are written: a replica may lag behind a mark."""
        return self.model._base_manager.using(using or router.db_for_write(self.model))


_registered: dict[AnyModel, CachedModel] = {}


def make(
    model: AnyModel, serializer: Serializer, prefix: str | None = None, reread: bool = False
) -> CachedModel:
    """A registration, checked; the key prefix is the model's name unless given."""
    if model._meta.abstract or model._meta.proxy:
        raise ImproperlyConfigured(
            f"{model.__name__} has no table of its own. Register the model that has."
        )
    prefix = prefix or model._meta.model_name or ""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", prefix) or prefix == RESERVED_PREFIX:
        raise ImproperlyConfigured(
            f"{prefix!r} cannot be a key prefix. Use letters, digits, '_', '.' and '-', "
            f"and not {RESERVED_PREFIX!r}, under which the cache layer keeps its own keys."
        )
    return CachedModel(model, serializer, prefix, reread)


def add(cached: CachedModel) -> None:
    """Put *cached* into the registry; ``ImproperlyConfigured`` on a clash."""
    for other in _registered.values():
        if other.model is cached.model or other.prefix == cached.prefix:
            raise ImproperlyConfigured(
                f"{cached.model._meta.label} is registered with the key prefix "
                f"{cached.prefix!r}, which {other.model._meta.label} has already. "
                "Register each model once, with a prefix of its own."
            )
    _registered[cached.model] = cached


def find(model: AnyModel) -> CachedModel | None:
    """The registration of *model* (or of the model that it proxies), if there is one."""
    return _registered.get(model._meta.concrete_model or model)


def get(model: AnyModel) -> CachedModel:
    """The registration of *model*; ``ImproperlyConfigured`` when there is none."""
    cached = find(model)
    if cached is None:
        raise ImproperlyConfigured(
            f"{model._meta.label} is not cached. Call cachelayer.register("
            f"{model.__name__}, …) in its app's AppConfig.ready()."
        )
    return cached


def all_cached() -> Iterator[CachedModel]:
    return iter(tuple(_registered.values()))


def of_key(key: str) -> CachedModel:
    """The registration that *key* belongs to; ``ValueError`` when there is none."""
    prefix = key.partition(":")[0]
    for cached in _registered.values():
        if cached.prefix == prefix:
            return cached
    known = ", ".join(f"{cached.prefix}:…" for cached in _registered.values())
    raise ValueError(f"{key!r} is no key of a cached model. Keys look like {known}.")


def sharing_rows_with(model: AnyModel) -> Iterator[CachedModel]:
    """The cached models whose row changes when a row of *model* does.

    Besides the model itself these are, with multi-table inheritance, its
    parents and its children: they share the table in which it is written.
    """
    concrete = model._meta.concrete_model or model
    for cached in _registered.values():
        if issubclass(concrete, cached.model) or issubclass(cached.model, concrete):
            yield cached
