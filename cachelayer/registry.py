"""Which models are cached, under which keys, and how a row of theirs is rendered."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models, router

from cachelayer import dependencies, neutral, relations, rendering, tenancy
from cachelayer.rendering import Serializer

AnyModel = type[models.Model]
#: Keys of the cache layer itself begin with this and a colon.
RESERVED_PREFIX = "cachelayer"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A registered model: its key prefix and its serializer.

    The cached bytes are a pure function of one row of the model: of its columns, also those
    that multi-table inheritance keeps in its parents' tables, and of its many-to-many links. Or
    they are a document: a function of other rows as well, those in ``shown``.
    """

    model: AnyModel
    serializer: Serializer
    prefix: str
    #: The project's own word for what neither its code nor its columns show; see ``fingerprint``.
    version: str = ""
    #: Relations that are shown and cannot be seen to be, as paths: ``reviews__user``.
    depends_on: tuple[str, ...] = ()

    @property
    def shown(self) -> dependencies.Shown | None:
        """What is shown beside the row; None where that is nothing. Raises as its ``of``."""
        return dependencies.of(self.model, self.serializer, self.depends_on)

    @property
    def database(self) -> str:
        """The alias of the database in which its rows are written, and read after a mark."""
        return router.db_for_write(self.model)

    @property
    def start(self) -> str:
        """What keys begin with before the colon: the prefix, behind the tenant's schema.

        Raises ``CacheUnavailable`` where the tenant's tables are not followed.
        """
        return tenancy.start(self.database, self.model._meta.db_table) + self.prefix

    def key(self, pk: Any) -> str:
        """The key of the row *pk*; raises as ``start``."""
        return f"{self.start}:{pk}"

    def keys_of_texts(self, start: str, texts: Iterable[str]) -> list[str]:
        """The keys of the rows whose primary keys Postgres writes as *texts*, behind *start*."""
        if relations.is_written_alike(self.model._meta.pk):
            return [f"{start}:{text}" for text in texts]
        return [f"{start}:{self.to_python(text)}" for text in texts]

    def to_python(self, pk: Any) -> Any:
        """*pk* in the one form that its key is made of; ``ValidationError`` if it is none."""
        pk_field = self.model._meta.pk
        assert pk_field is not None
        return pk_field.to_python(pk)

    def pk(self, key: str) -> Any:
        """The primary key in *key*; ``ValueError`` when it is no key of this model."""
        start, _, text = key.partition(":")
        try:
            pk = self.to_python(text)
        except ValidationError as error:
            raise ValueError(f"{key!r} has no {self.prefix} id after the colon.") from error
        if start.rpartition("/")[2] != self.prefix or f"{start}:{pk}" != key:
            raise ValueError(f"{key!r} is no key of {self.prefix}.")
        return pk

    def render(self, instance: models.Model) -> bytes:
        """The bytes that the API answers for *instance*, and that the cache holds."""
        return self._checked(rendering.render(self.serializer, instance))

    def load(self, found: "models.QuerySet[Any]") -> dict[Any, bytes]:
        """The rows of *found*, a query of this model's, rendered, by primary key."""
        return {pk: self.render_fetched(row) for pk, row in self.fetch(found).items()}

    def fetch(self, found: "models.QuerySet[Any]") -> dict[Any, Any]:
        """The rows of *found*, as ``render_fetched`` takes them, by primary key."""
        plan = rendering.plan_of(self.serializer, self.model)
        if plan is None or self.shown or not rendering.are_values_enough(self.model):
            if self.shown:
                found = found.prefetch_related(*self.shown.lookups())
            with neutral.context():
                return {instance.pk: instance for instance in found}
        # Without instances: half of what a row costs is to make one.
        with nullcontext() if plan.is_neutral else neutral.context():
            return {pk: values for pk, *values in found.values_list("pk", *plan.columns)}

    def render_fetched(self, row: Any) -> bytes:
        if isinstance(row, models.Model):
            return self.render(row)
        plan = rendering.plan_of(self.serializer, self.model)
        assert plan is not None
        return self._checked(rendering.render_values(self.serializer, plan, row))

    def render_values(self, attributes: Sequence[str], values: Sequence[Any]) -> bytes:
        """The bytes of the row whose columns, by the names of attributes, have *values*."""
        plan = rendering.plan_of(self.serializer, self.model)
        if plan is None or not rendering.are_values_enough(self.model):
            return self.render(self.model.from_db(self.database, attributes, values))
        found = dict(zip(attributes, values, strict=True))
        columns = [found[name] for name in plan.columns]
        return self._checked(rendering.render_values(self.serializer, plan, columns))

    def _checked(self, row: bytes) -> bytes:
        if row[:1] != b"{":
            raise ImproperlyConfigured(
                f"The serializer of {self.model._meta.label} gives {row[:20]!r}…: a cached row "
                "is a JSON object. Register a serializer of one instance."
            )
        return row

    def rows(self, using: str | None = None) -> "models.QuerySet[Any]":
        """All rows, read where they are written: a replica may lag behind a mark."""
        return self.model._base_manager.using(using or self.database)


_registered: dict[AnyModel, CachedModel] = {}


def make(
    model: AnyModel,
    serializer: Serializer,
    prefix: str | None = None,
    version: str = "",
    depends_on: Iterable[str] = (),
) -> CachedModel:
    """A registration, checked; the key prefix is the model's name unless given."""
    if model._meta.abstract or model._meta.proxy:
        raise ImproperlyConfigured(
            f"{model.__name__} has no table of its own. Register the model that has."
        )
    if len(model._meta.pk_fields) > 1:
        raise ImproperlyConfigured(
            f"{model.__name__} has a composite primary key, which no cache key names as yet. "
            "Leave it out, or give it a primary key of one column."
        )
    prefix = prefix or model._meta.model_name or ""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", prefix) or prefix == RESERVED_PREFIX:
        raise ImproperlyConfigured(
            f"{prefix!r} cannot be a key prefix. Use letters, digits, '_', '.' and '-', "
            f"and not {RESERVED_PREFIX!r}, under which the cache layer keeps its own keys."
        )
    return CachedModel(model, serializer, prefix, version, tuple(depends_on))


def add(cached: CachedModel) -> bool:
    """Put *cached* into the registry; ``ImproperlyConfigured`` on a clash.

    Answers False where it is there already: a ``ready()`` that runs twice does nothing.
    """
    for other in _registered.values():
        if other == cached:
            return False
        if other.model is cached.model or other.prefix == cached.prefix:
            raise ImproperlyConfigured(
                f"{cached.model._meta.label} is registered with the key prefix "
                f"{cached.prefix!r}, which {other.model._meta.label} has already. "
                "Register each model once, with a prefix of its own."
            )
    _registered[cached.model] = cached
    return True


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


def databases() -> set[str]:
    """The aliases of the databases that cached rows are written to."""
    return {cached.database for cached in _registered.values()}


def of_prefix(start: str) -> CachedModel | None:
    """The registration whose keys have *start* before the colon; another release may have more."""
    prefix = start.rpartition("/")[2]
    return next((c for c in _registered.values() if c.prefix == prefix), None)


def is_of_documents(key: str) -> bool:
    """Whether *key* is one of a model whose cached bytes show other rows as well."""
    cached = of_prefix(key.partition(":")[0])
    return cached is not None and cached.shown is not None


def of_key(key: str) -> CachedModel:
    """The registration that *key* belongs to; ``ValueError`` when there is none."""
    if cached := of_prefix(key.partition(":")[0]):
        return cached
    known = ", ".join(f"{cached.prefix}:…" for cached in _registered.values())
    raise ValueError(f"{key!r} is no key of a cached model. Keys look like {known}.")


def links(cached: CachedModel) -> "tuple[models.ManyToManyField[Any, Any], ...]":
    """The many-to-many fields whose links the serializer of *cached* may show."""
    return _links(cached.model, cached.serializer)


@cache
def _links(
    model: AnyModel, serializer: Serializer
) -> "tuple[models.ManyToManyField[Any, Any], ...]":
    found = tuple(model._meta.many_to_many)
    sources = rendering.sources(serializer) if found else None
    if sources is None:
        return found  # A function may show anything.
    return tuple(link for link in found if link.name in sources)


def spans_tables(cached: CachedModel) -> bool:
    """Whether rows of several tables make one of *cached*: no lock of one row covers it then."""
    return bool(cached.model._meta.parents or links(cached) or cached.shown)
