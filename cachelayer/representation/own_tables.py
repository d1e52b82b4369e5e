"""The tables behind a row: of the model, of its parents, and of its links."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models

from cachelayer.representation import plans
from cachelayer.representation.plans import Serializer
from cachelayer.representation.relations import AnyModel

if TYPE_CHECKING:
    Link = models.ManyToManyField[Any, Any]


@cache
def links(model: AnyModel, serializer: Serializer) -> "tuple[Link, ...]":
    """The many-to-many fields of *model* whose links *serializer* may show."""
    found = tuple(model._meta.many_to_many)
    sources = plans.sources(serializer) if found else None
    if sources is None:
        return found  # A function may show anything.
    return tuple(link for link in found if link.name in sources)


def tables(model: AnyModel, serializer: Serializer) -> Iterator[tuple[str, str]]:
    """Each of these tables, and the column with the row's primary key."""
    own = model._meta
    yield own.db_table, column_of(own.pk)
    for parent in own.all_parents:
        if not parent._meta.proxy:
            yield parent._meta.db_table, column_of(parent._meta.pk)
    for link in links(model, serializer):
        through: Any = link.remote_field.through._meta  # type: ignore[union-attr]
        yield through.db_table, column_of(through.get_field(link.m2m_field_name()))


def column_of(field: Any) -> str:
    """The name of *field*'s column in the database."""
    column: str = field.column
    return column
