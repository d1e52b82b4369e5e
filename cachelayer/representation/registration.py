"""A registration: rows of a model, as one serializer shows them, under one key prefix."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, ValidationError
from django.db import models, router

from cachelayer.representation import (
    dependencies,
    neutral,
    own_tables,
    plans,
    relations,
    rendering,
    tenancy,
)
from cachelayer.representation.plans import Serializer
from cachelayer.representation.relations import AnyModel as AnyModel
from cachelayer.representation.timestamps import loaded_fast

#: The cache layer's own keys begin with this and a colon.
RESERVED_PREFIX = "cachelayer"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A registered model: its key prefix and its serializer.

    The cached bytes are a pure function of one row of the model: of its columns, including those
    in the tables of its parents (multi-table inheritance), and of its many-to-many links. Or they
    are a document: a function of other rows, too, which ``shown`` describes.
    """

    model: AnyModel
    serializer: Serializer
    prefix: str
    #: Set by the project for changes that code and columns do not show; see ``fingerprint``.
    version: str = ""
    #: Relations that are shown but cannot be found, as paths: ``reviews__user``. Empty: the project
    #: states that there are none. None: it states nothing.
    depends_on: tuple[str, ...] | None = None
    #: The attribute of the unique column whose values are in the keys; "": the primary key.
    by: str = ""
    #: How long a row stays cached, in seconds; None: ``ROW_TTL``.
    lifetime: float | None = None

    @property
    def shown(self) -> dependencies.Shown | None:
        """What is shown besides the row; None if nothing. Raises as ``dependencies.of`` does."""
        # Triggers name the links of a row by its primary key.
        own = tuple(link.name for link in links(self)) if self.by else ()
        return dependencies.of(self.model, self.serializer, self.depends_on or (), own)

    @property
    def is_document(self) -> bool:
        """Whether the bytes also come from other rows, so that they are valid only with stamps."""
        return self.shown is not None

    @property
    def is_query_checked(self) -> bool:
        """Whether its queries are watched: code renders it, and depends_on is not set."""
        if self.is_document:
            return True
        return self.depends_on is None and plans.plan_of(self.serializer, self.model) is None

    @property
    def kind(self) -> str:
        """``row`` or ``document``, for metrics."""
        return "document" if self.is_document else "row"

    def shown_models(self) -> Iterator[AnyModel]:
        """The models whose rows it shows."""
        yield self.model
        if self.shown:
            yield from self.shown.each_model()

    def columns(self) -> Iterator[relations.Column]:
        """The columns that name its stamps; documents only."""
        return self.shown.columns() if self.shown else iter(())

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.model._meta.label} by {self.by}" if self.by else self.model._meta.label

    @property
    def lookup(self) -> str:
        """The attribute of an instance whose value is in the key."""
        return self.by or self.field.attname

    @property
    def field(self) -> Any:
        """The field whose value is in a key."""
        meta = self.model._meta
        return _field_of(self.model, self.by) if self.by else meta.pk

    @property
    def database(self) -> str:
        """The alias of the database where its rows are written, and read after a mark."""
        return router.db_for_write(self.model)

    @property
    def start(self) -> str:
        """The part of keys before the colon: the prefix, after the tenant's schema.

        Raises ``CacheUnavailable`` if the tenant's tables are not followed.
        """
        return tenancy.start(self.database, self.model._meta.db_table) + self.prefix

    def key(self, pk: Any) -> str:
        """The key of the row *pk*; raises as ``start`` does."""
        return f"{self.start}:{pk}"

    def keys(self, pks: Iterable[Any]) -> list[str]:
        """The keys of the rows *pks*; raises as ``start`` does."""
        start = self.start
        return [f"{start}:{pk}" for pk in pks]

    def keys_of_texts(self, start: str, texts: Iterable[str]) -> list[str]:
        """The keys, with *start*, of the rows whose primary keys Postgres writes as *texts*."""
        if relations.is_written_alike(self.field):
            return [f"{start}:{text}" for text in texts]
        return [f"{start}:{self.to_python(text)}" for text in texts]

    def to_python(self, pk: Any) -> Any:
        """*pk* in the canonical form for keys; ``ValidationError`` if it is not a primary key."""
        if pk is None and self.by:
            # In a query, None would match a row without a value.
            raise ValidationError(f"No row of {self.label} can be read by None.")
        return self.field.to_python(pk)

    def pk(self, key: str) -> Any:
        """The primary key in *key*; ``ValueError`` if the key does not belong to this model."""
        start, _, text = key.partition(":")
        try:
            pk = self.to_python(text)
        except ValidationError as error:
            raise ValueError(f"{key!r} has no {self.prefix} id after the colon.") from error
        if start.rpartition("/")[2] != self.prefix or f"{start}:{pk}" != key:
            raise ValueError(f"{key!r} is not a key of {self.prefix}.")
        return pk

    def render(self, instance: models.Model) -> bytes:
        """The bytes of *instance* that the API sends and the cache holds."""
        return self._checked(rendering.render(self.serializer, instance))

    def render_loading(self, instance: models.Model) -> bytes:
        """Like ``render``, but loads the rows that a document shows if they are not loaded yet."""
        with neutral.context():
            models.prefetch_related_objects([instance], *self._lookups())
        return self.render(instance)

    def load(self, found: "models.QuerySet[Any]") -> dict[Any, bytes]:
        """The rendered rows of *found*, a query of this model, by primary key."""
        fetched = self.fetch(found)
        if (plan := self._plan_of_values()) is None:
            return {pk: self.render(row) for pk, row in fetched.items()}
        render, checked = rendering.render_values, self._checked
        return {pk: checked(render(self.serializer, plan, row)) for pk, row in fetched.items()}

    def fetch(self, found: "models.QuerySet[Any]") -> dict[Any, Any]:
        """The rows of *found*, in the form for ``render_fetched``, by primary key."""
        if (plan := self._plan_of_values()) is None:
            found = found.prefetch_related(*self._lookups())
            with neutral.context():
                return {getattr(instance, self.lookup): instance for instance in found}
        # Without instances, because to make one is half the cost of a row.
        columns = list(dict.fromkeys([*plan.columns, self.lookup]))
        at = columns.index(self.lookup)
        with nullcontext() if plan.is_neutral else neutral.context(), loaded_fast(found.db):
            return {values[at]: values for values in found.values_list(*columns)}

    def _plan_of_values(self) -> plans.Plan | None:
        """The plan by which rows are rendered from values alone; None if they need instances."""
        plan = plans.plan_of(self.serializer, self.model)
        is_enough = plan and not self.shown and plans.are_values_enough(self.model)
        return plan if is_enough else None

    def _lookups(self) -> Iterator[Any]:
        """With these loaded, the relations found in the serializer need no query."""
        if self.shown:
            yield from self.shown.lookups()
        if plans.sources(self.serializer) is not None:
            known = self.shown.by_name if self.shown else {}
            yield from (link.name for link in links(self) if link.name not in known)

    def render_fetched(self, row: Any) -> bytes:
        if isinstance(row, models.Model):
            return self.render(row)
        plan = plans.plan_of(self.serializer, self.model)
        assert plan is not None
        return self._checked(rendering.render_values(self.serializer, plan, row))

    def render_values(self, attributes: Sequence[str], values: Sequence[Any]) -> bytes:
        """The bytes of the row whose *attributes* have *values*."""
        plan = plans.plan_of(self.serializer, self.model)
        if plan is None or not plans.are_values_enough(self.model):
            return self.render(self.model.from_db(self.database, attributes, values))
        found = dict(zip(attributes, values, strict=True))
        columns = [found[name] for name in plan.columns]
        return self._checked(rendering.render_values(self.serializer, plan, columns))

    def _checked(self, row: bytes) -> bytes:
        if row[:1] != b"{":
            raise ImproperlyConfigured(
                f"The serializer of {self.model._meta.label} gives {row[:20]!r}…, but a cached row "
                "must be a JSON object. Register a serializer of one instance."
            )
        return row

    def rows(self, using: str | None = None) -> "models.QuerySet[Any]":
        """All rows, from the database of writes, because a replica may lag behind a mark."""
        return self.model._base_manager.using(using or self.database)


def refuse_prefix(prefix: str) -> None:
    """Raise ``ImproperlyConfigured`` if keys cannot begin with *prefix*."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", prefix) or prefix == RESERVED_PREFIX:
        raise ImproperlyConfigured(
            f"{prefix!r} cannot be a key prefix. Use letters, digits, '_', '.' and '-', but not "
            f"{RESERVED_PREFIX!r}, which the cache layer uses for its own keys."
        )


def by_column(cached: CachedModel, name: str) -> CachedModel:
    """*cached*, read by the unique column *name*; ``ImproperlyConfigured`` if it cannot be."""
    model = cached.model
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist as error:
        raise ImproperlyConfigured(
            f"{model._meta.label} has no field {name!r}. Name a unique column of the model."
        ) from error
    why = ""
    if not getattr(field, "concrete", False) or field.many_to_many or not _is_unique(field):
        why = "may have several rows with the same value, because the column is not unique"
    elif model._meta.parents:
        why = "has rows in several tables, and only one of them has that column"
    elif not relations.is_written_alike(field):
        why = "has values there that Postgres writes differently from Python"
    if why:
        raise ImproperlyConfigured(
            f"{model._meta.label} cannot be read by {name!r}: it {why}. Read it by the primary "
            "key, or by a unique column of integers, UUIDs or text."
        )
    return replace(cached, prefix=f"{cached.prefix}.{field.name}", by=field.attname)


def _is_unique(field: Any) -> bool:
    return field.unique or any(
        each.fields == (field.name,) for each in field.model._meta.total_unique_constraints
    )


@cache
def _field_of(model: AnyModel, attname: str) -> Any:
    return next(each for each in model._meta.concrete_fields if each.attname == attname)


def links(cached: CachedModel) -> "tuple[models.ManyToManyField[Any, Any], ...]":
    """The many-to-many fields whose links the serializer of *cached* may show."""
    return own_tables.links(cached.model, cached.serializer)


def spans_tables(cached: CachedModel) -> bool:
    """Whether a row of *cached* spans several tables, so that no single row lock covers it."""
    return bool(cached.model._meta.parents or links(cached) or cached.shown)


def is_pushed(cached: CachedModel) -> bool:
    """Whether a write to the row knows the new value of the key, and holds its lock."""
    # Two rows may have the same value in another column, one after the other.
    return not (cached.by or spans_tables(cached))
