"""A row as the witness sends it, made into what Django's own query would give.

Only where every column has a type that comes back from JSON without loss. Any other row is
read again under its lock; so what is not on the list below costs a SELECT, and is right.
"""

import datetime
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final

from django.db import connections

from cachelayer.registry import AnyModel, CachedModel


class Inexact(Exception):  # noqa: N818  (as CacheUnavailable)
    """This row cannot be told from its JSON: it must be read."""


def render(cached: CachedModel, text: str) -> bytes:
    """The bytes of the row of *cached* whose JSON is *text*; raises ``Inexact``.

    Also what the model's own code or the serializer raises.
    """
    columns = _columns(cached.model, cached.database)
    if columns is None:
        raise Inexact
    row = json.loads(text, parse_float=Decimal)
    connection = connections[cached.database]
    try:
        values = [column.value(row[column.name], connection) for column in columns]
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise Inexact from error
    return cached.render_values([column.attribute for column in columns], values)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    attribute: str
    convert: Callable[[Any, Any], Any]
    #: The field's own ``from_db_value``.
    converters: Sequence[Callable[..., Any]]
    expression: Any

    def value(self, found: Any, connection: Any) -> Any:
        value = None if found is None else self.convert(found, connection)
        for converter in self.converters:
            value = converter(value, self.expression, connection)
        return value


@cache
def _columns(model: AnyModel, using: str) -> tuple[_Column, ...] | None:
    connection = connections[using]
    columns = []
    for field in model._meta.concrete_fields:
        kind = (field.db_type(connection) or "").partition("(")[0]
        if kind not in _CONVERSIONS or (field.generated and not getattr(field, "db_persist", True)):
            return None
        columns.append(
            _Column(
                field.column or "",
                field.attname,
                _CONVERSIONS[kind],
                field.get_db_converters(connection),
                field.get_col(model._meta.db_table),
            )
        )
    return tuple(columns)


def _text(value: Any, connection: Any) -> str:
    if type(value) is not str:
        raise Inexact
    return value


def _integer(value: Any, connection: Any) -> int:
    if type(value) is not int:
        raise Inexact
    return value


def _boolean(value: Any, connection: Any) -> bool:
    return bool(value)


def _float(value: Any, connection: Any) -> float:
    number = float(value)
    if number == 0:
        raise Inexact  # jsonb knows no negative zero.
    return number


def _moment(value: Any, connection: Any) -> datetime.datetime:
    # As Django's own loader: the session's wall clock, with the zone of the connection.
    return datetime.datetime.fromisoformat(value).replace(tzinfo=connection.timezone)


_CONVERSIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), _integer),
    **dict.fromkeys(("varchar", "text"), _text),
    "boolean": _boolean,
    "uuid": lambda value, connection: uuid.UUID(value),
    "numeric": lambda value, connection: Decimal(value),
    "double precision": _float,
    "date": lambda value, connection: datetime.date.fromisoformat(value),
    "time": lambda value, connection: datetime.time.fromisoformat(value),
    "timestamp with time zone": _moment,
}
