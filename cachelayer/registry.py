"""Which models are cached, under which keys, and how a row of theirs is rendered."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, ValidationError
from django.db import models, router

from cachelayer import dependencies, neutral, relations, rendering, tenancy
from cachelayer.computed import Computed
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
    #: The attribute of the unique column whose values its keys have; "": the primary key's.
    by: str = ""
    #: How long a row stays, in seconds; None: as ``ROW_TTL`` says.
    lifetime: float | None = None

    @property
    def shown(self) -> dependencies.Shown | None:
        """What is shown beside the row; None where that is nothing. Raises as its ``of``."""
        # The links of a row are written under its primary key.
        own = tuple(link.name for link in _links(self.model, self.serializer)) if self.by else ()
        return dependencies.of(self.model, self.serializer, self.depends_on, own)

    @property
    def is_document(self) -> bool:
        """Whether its bytes are those of other rows as well: valid while stamps are."""
        return self.shown is not None

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
                return {getattr(instance, self.lookup): instance for instance in found}
        # Without instances: half of what a row costs is to make one.
        with nullcontext() if plan.is_neutral else neutral.context():
            return {pk: values for pk, *values in found.values_list(self.lookup, *plan.columns)}

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


#: The first representation of each model; and by their prefixes all others.
_registered: dict[AnyModel, CachedModel] = {}
_others: dict[str, CachedModel] = {}
_computed: dict[str, Computed] = {}

#: All that can be cached.
Cached = CachedModel | Computed


def make(
    model: AnyModel,
    serializer: Serializer,
    prefix: str | None = None,
    version: str = "",
    depends_on: Iterable[str] = (),
    lifetime: float | None = None,
) -> CachedModel:
    """A registration, checked; the key prefix is the model's name unless given.

    Another serializer's is ``<model>.<serializer>`` where the model has one already.
    """
    if model._meta.abstract or model._meta.proxy:
        raise ImproperlyConfigured(
            f"{model.__name__} has no table of its own. Register the model that has."
        )
    if len(model._meta.pk_fields) > 1:
        raise ImproperlyConfigured(
            f"{model.__name__} has a composite primary key, which no cache key names as yet. "
            "Leave it out, or give it a primary key of one column."
        )
    prefix = prefix or _own_prefix(model, serializer)
    refuse_prefix(prefix)
    if lifetime is not None and not 0 < lifetime < math.inf:
        raise ImproperlyConfigured(
            f"{model.__name__} has a lifetime of {lifetime!r}. Give it seconds, above 0."
        )
    return CachedModel(model, serializer, prefix, version, tuple(depends_on), lifetime=lifetime)


def _own_prefix(model: AnyModel, serializer: Serializer) -> str:
    name = model._meta.model_name or ""
    first = _registered.get(model)
    if first is None or first.serializer is serializer:
        return name
    return f"{name}.{getattr(serializer, '__name__', '?').lower()}"


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


def add(cached: Cached) -> bool:
    """Put *cached* into the registry; ``ImproperlyConfigured`` on a clash.

    Answers False where it is there already: a ``ready()`` that runs twice does nothing.
    """
    for other in every():
        if other == cached:
            return False
        if _is_same(other, cached) or other.prefix == cached.prefix:
            raise ImproperlyConfigured(
                f"{cached.label} is registered with the key prefix "
                f"{cached.prefix!r}, which {other.label} has already. "
                "Register each serializer of a model once, with a prefix of its own."
            )
    if isinstance(cached, Computed):
        _computed[cached.prefix] = cached
    elif cached.by or cached.model in _registered:
        _others[cached.prefix] = cached
    else:
        _registered[cached.model] = cached
    return True


def _is_same(one: Cached, other: Cached) -> bool:
    if isinstance(one, Computed) or isinstance(other, Computed):
        return False
    parts = ((each.model, each.serializer, each.by) for each in (one, other))
    return next(parts) == next(parts)


def find(model: AnyModel, serializer: Serializer | None = None, by: str = "") -> CachedModel | None:
    """A registration of *model* (or of the model that it proxies), if there is one.

    The first, or the one with *serializer*, or the one that is read *by* the field of that name.
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
    """As ``find``; ``ImproperlyConfigured`` when there is none."""
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
    """The aliases of the databases that cached rows are written to."""
    return {cached.database for cached in every()}


def of_prefix(start: str) -> Cached | None:
    """The registration whose keys have *start* before the colon; another release may have more."""
    prefix = start.rpartition("/")[2]
    for cached in _registered.values():
        if cached.prefix == prefix:
            return cached
    return _others.get(prefix) or _computed.get(prefix)


def model_of_prefix(start: str) -> CachedModel | None:
    """As ``of_prefix``, of those whose keys triggers name: rows of a model."""
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
    """Whether *key* is one whose cached bytes show other rows as well."""
    cached = of_prefix(key.partition(":")[0])
    return cached is not None and cached.is_document


def of_key(key: str) -> Cached:
    """The registration that *key* belongs to; ``ValueError`` when there is none."""
    if cached := of_prefix(key.partition(":")[0]):
        return cached
    known = ", ".join(f"{cached.prefix}:…" for cached in every())
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


def is_pushed(cached: CachedModel) -> bool:
    """Whether a write of its row knows what the key holds from then on, and has its lock."""
    # Two rows may have had one value of another column, one after the other.
    return not (cached.by or spans_tables(cached))
