"""Loads rows from Postgres and renders them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import models

from cachelayer.representation.computed import Computed
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached

#: In place of a row that does not exist.
NULL: Final = b"null"


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
    return rows.filter(**{name: pks[0]} if len(pks) == 1 else {f"{name}__in": pks})
