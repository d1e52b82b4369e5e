"""Rows as Postgres has them, rendered."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import models

from cachelayer import states
from cachelayer.registry import CachedModel


def read_rows(using: str | None, cached: CachedModel, pks: Iterable[Any]) -> dict[Any, bytes]:
    """The rows of *pks* as Postgres has them, rendered; ``NULL`` where there is none."""
    pks = list(pks)
    rows = dict.fromkeys(pks, states.NULL)
    if pks:
        rows |= cached.load(found(using, cached, pks))
    return rows


def found(
    using: str | None, cached: CachedModel, pks: Sequence[Any]
) -> "models.QuerySet[models.Model]":
    """The query for the rows of *pks*."""
    # Not in the order of Meta.ordering: nobody asked for one.
    rows = cached.rows(using).order_by()
    return rows.filter(pk=pks[0]) if len(pks) == 1 else rows.filter(pk__in=pks)
