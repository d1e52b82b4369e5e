"""What is registered: rows of a model, as one serializer shows them, under one key prefix."""

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
    #: Relations that are shown and cannot be seen to be, as paths: ``reviews__user``. Empty: there
    #: are none, the project says; None: it says nothing.
    depends_on: tuple[str, ...] | None = None
    #: The attribute of the unique column whose values its keys have; "": the primary key's.
    by: str = ""
    #: How long a row stays, in seconds; None: as ``ROW_TTL`` says.
    lifetime: float | None = None

    @property
    def shown(self) -> dependencies.Shown | None:
        """What is shown beside the row; None where that is nothing. Raises as its ``of``."""
        # The links of a row are written under its primary key.
        own = tuple(link.name for link in links(self)) if self.by else ()
        return dependencies.of(self.model, self.serializer, self.depends_on or (), own)

    @property
    def is_document(self) -> bool:
        """Whether its bytes are those of other rows as well: valid while stamps are."""
        return self.shown is not None

    @property
    def is_query_checked(self) -> bool:
        """Whether what it queries is looked at: code shows it, and nobody said what that asks."""
        if self.is_document:
            return True
        return self.depends_on is None and plans.plan_of(self.serializer, self.model) is None

    @property
    def kind(self) -> str:
        """``row`` or ``document``, for metrics."""
        return "document" if self.is_document else "row"

    def shown_models(self) -> Iterator[AnyModel]:
        """Those whose rows it shows."""
        yield self.model
        if self.shown:
            yield from self.shown.each_model()

    def columns(self) -> Iterator[relations.Column]:
        """Those by which its stamps are named; of a document only."""
        return self.shown.columns() if self.shown else iter(())

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.model._meta.label} by {self.by}" if self.by else self.model._meta.label

    @property
    def lookup(self) -> str:
        """The attribute of an instance whose value is in its key."""
        return self.by or self.field.attname

    @property
    def field(self) -> Any:
        """The field whose value is in a key."""
        meta = self.model._meta
        return _field_of(self.model, self.by) if self.by else meta.pk

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
        if relations.is_written_alike(self.field):
            return [f"{start}:{text}" for text in texts]
        return [f"{start}:{self.to_python(text)}" for text in texts]

    def to_python(self, pk: Any) -> Any:
        """*pk* in the one form that its key is made of; ``ValidationError`` if it is none."""
        if pk is None and self.by:
            # As an argument of a query, that would be some row that has no value.
            raise ValidationError(f"No row of {self.label} is read by None.")
        return self.field.to_python(pk)

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

    def render_loading(self, instance: models.Model) -> bytes:
        """As ``render``; what a document shows is loaded if it is not yet."""
        with neutral.context():
            models.prefetch_related_objects([instance], *self._lookups())
        return self.render(instance)

    def load(self, found: "models.QuerySet[Any]") -> dict[Any, bytes]:
        """The rows of *found*, a query of this model's, rendered, by primary key."""
        return {pk: self.render_fetched(row) for pk, row in self.fetch(found).items()}

    def fetch(self, found: "models.QuerySet[Any]") -> dict[Any, Any]:
        """The rows of *found*, as ``render_fetched`` takes them, by primary key."""
        plan = plans.plan_of(self.serializer, self.model)
        if plan is None or self.shown or not plans.are_values_enough(self.model):
            found = found.prefetch_related(*self._lookups())
            with neutral.context():
                return {getattr(instance, self.lookup): instance for instance in found}
        # Without instances: half of what a row costs is to make one.
        with nullcontext() if plan.is_neutral else neutral.context():
            return {pk: values for pk, *values in found.values_list(self.lookup, *plan.columns)}

    def _lookups(self) -> Iterator[Any]:
        """With these loaded, what the serializer is seen to show takes no query."""
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
        """The bytes of the row whose columns, by the names of attributes, have *values*."""
        plan = plans.plan_of(self.serializer, self.model)
        if plan is None or not plans.are_values_enough(self.model):
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


def refuse_prefix(prefix: str) -> None:
    """Raise ``ImproperlyConfigured`` where no keys can begin with *prefix*."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", prefix) or prefix == RESERVED_PREFIX:
        raise ImproperlyConfigured(
            f"{prefix!r} cannot be a key prefix. Use letters, digits, '_', '.' and '-', "
            f"and not {RESERVED_PREFIX!r}, under which the cache layer keeps its own keys."
        )


def by_column(cached: CachedModel, name: str) -> CachedModel:
    """*cached*, read by another unique column; ``ImproperlyConfigured`` where none is *name*."""
    model = cached.model
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist as error:
        raise ImproperlyConfigured(f"{model._meta.label} has no field {name!r}.") from error
    why = ""
    if not getattr(field, "concrete", False) or field.many_to_many or not _is_unique(field):
        why = "has several rows with one value of it: it is not unique"
    elif model._meta.parents:
        why = "has rows of several tables, of which one only has that column"
    elif not relations.is_written_alike(field):
        why = "has values in it that Postgres writes otherwise than Python"
    if why:
        raise ImproperlyConfigured(
            f"{model._meta.label} cannot be read by {name!r}: it {why}. Read it by its primary "
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
    """Whether rows of several tables make one of *cached*: no lock of one row covers it then."""
    return bool(cached.model._meta.parents or links(cached) or cached.shown)


def is_pushed(cached: CachedModel) -> bool:
    """Whether a write of its row knows what the key holds from then on, and has its lock."""
    # Two rows may have had one value of another column, one after the other.
    return not (cached.by or spans_tables(cached))
