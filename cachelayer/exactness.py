"""When is an instance in memory, just saved, the row that a reader would load?

Only then may its bytes be pushed without reading the row again. The answer is
yes for a full save of values that the database gives back as they are; anything
that is not on the list below (expressions, JSON, custom fields, a string where
a number belongs) is no, which costs a SELECT and is always right.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import models
from django.db.models import fields as django_fields

Predicate = Callable[["models.Field[Any, Any]", Any], bool]


def is_the_row(instance: models.Model) -> bool:
    """Whether every column of *instance*, just saved in full, reads back as it is."""
    columns = _columns(type(instance))
    if columns is None or instance.get_deferred_fields():
        return False
    values = instance.__dict__
    for field, holds in columns:
        value = values.get(field.attname)
        if value is None:
            if not field.null:
                return False
        elif not holds(field, value):
            return False
    return True


@cache
def _columns(
    model: type[models.Model],
) -> tuple[tuple[models.Field[Any, Any], Predicate], ...] | None:
    columns = []
    for field in model._meta.concrete_fields:
        predicate = _predicate(field)
        if predicate is None or field.generated:
            return None
        columns.append((field, predicate))
    return tuple(columns)


def _predicate(field: models.Field[Any, Any]) -> Predicate | None:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return _PREDICATES.get(type(field))


def _has_type(*types: type) -> Predicate:
    return lambda field, value: type(value) in types


def _is_exact_decimal(field: models.Field[Any, Any], value: Any) -> bool:
    # numeric(n, 2) gives 1.50 back for 1.5, rounds 1.505, and knows no negative zero.
    assert isinstance(field, models.DecimalField)
    return (
        type(value) is Decimal
        and value.is_finite()
        and not (value.is_zero() and value.is_signed())
        and value.as_tuple().exponent == -(field.decimal_places or 0)
    )


def _is_utc(field: models.Field[Any, Any], value: Any) -> bool:
    return type(value) is datetime.datetime and value.utcoffset() == datetime.timedelta(0)


_text = _has_type(str)
_integer = _has_type(int)

_PREDICATES: dict[type, Predicate] = {
    models.UUIDField: _has_type(uuid.UUID),
    models.BooleanField: _has_type(bool),
    models.DateField: _has_type(datetime.date),
    models.FloatField: _has_type(float),
    models.DecimalField: _is_exact_decimal,
    models.DateTimeField: _is_utc,
    **dict.fromkeys(
        (models.CharField, models.TextField, models.SlugField, models.EmailField, models.URLField),
        _text,
    ),
    **dict.fromkeys(
        (
            models.AutoField,
            models.BigAutoField,
            models.SmallAutoField,
            models.IntegerField,
            models.BigIntegerField,
            models.SmallIntegerField,
            django_fields.PositiveIntegerField,
            django_fields.PositiveBigIntegerField,
            django_fields.PositiveSmallIntegerField,
        ),
        _integer,
    ),
}
