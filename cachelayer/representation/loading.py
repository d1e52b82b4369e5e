"""Loads rows from Postgres and renders them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import models

from cachelayer.representation import relations
from cachelayer.representation.computed import Computed
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached

#: In place of a row that does not exist.
NULL: Final = b"null"
#: The end of Postgres's largest integers.
_LIMIT: Final = 2**63


def read_rows(using: str | None, cached: Cached, pks: Iterable[Any]) -> dict[Any, bytes]:
    """The rendered rows of *pks* from Postgres; ``NULL`` for a row that does not exist.

    For the documents of a function, the bytes that it computes for these arguments.
    """
    pks = list(pks)
    if isinstance(cached, Computed):
        return {pk: cached.compute(pk, fresh=True)[0] for pk in pks}
    rows = dict.fromkeys(pks, NULL)
    if pks:
        rows |= cached.load(found(using, cached, pks))
    return rows


def found(
    using: str | None, cached: CachedModel, pks: Sequence[Any]
) -> "models.QuerySet[models.Model]":
    """The query for the rows of *pks*."""
    # Without Meta.ordering, because the order does not matter.
    rows = cached.rows(using).order_by()
    name = cached.lookup
    if len(pks) == 1:
        return rows.filter(**{name: pks[0]})
    if array := _array(cached, pks):
        return rows.filter(_Among(models.F(name), array))
    return rows.filter(**{f"{name}__in": pks})


class _Among(models.Lookup):
    """``IN`` with one parameter, an array. A parameter for each value costs more than the rows."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        sql, parameters = self.process_lhs(compiler, connection)
        kind, text = self.rhs
        return f"{sql} = ANY(%s::{kind}[])", (*parameters, text)


def _array(cached: CachedModel, pks: Sequence[Any]) -> tuple[str, str] | None:
    """The type and the text of an array of *pks*; None if that takes more than joining them."""
    field = cached.field
    if not relations.is_written_alike(field):
        return None
    while field.is_relation:
        field = field.target_field
    if isinstance(field, models.UUIDField):
        kind = "uuid"
    elif isinstance(field, models.IntegerField) and all(-_LIMIT <= pk < _LIMIT for pk in pks):
        kind = "bigint"
    else:
        return None
    return kind, f"{{{','.join(map(str, pks))}}}"
