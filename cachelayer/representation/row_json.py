"""Turns a row from the witness's notice into what Django's own query would return.

This is done only if every column has a type that JSON carries without loss, and Django reads it
unchanged. Any other row is read again under its lock, so a type that is not listed below costs a
SELECT, but is right. The witness sends rows only of tables whose columns have the types of their
fields (``types``).
"""

import datetime
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import connections, models
from django.db.models.expressions import Col

from cachelayer.representation.registration import AnyModel, CachedModel


class Inexact(Exception):  # noqa: N818  (as CacheUnavailable)
    """This row cannot be restored from its JSON, so it must be read."""


def render(cached: CachedModel, text: str) -> bytes:
    """The bytes of the row of *cached* whose JSON is *text*.

    Raises ``Inexact``, and what the model's code or the serializer raises.
    """
    columns = _columns(cached.model, cached.database)
    if columns is None:
        raise Inexact
    connection = connections[cached.database]
    try:
        row = json.loads(text, parse_float=Decimal)
        values = [column.value(row[column.name], connection) for column in columns]
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise Inexact from error
    return cached.render_values([column.attribute for column in columns], values)


def types(cached: CachedModel) -> dict[str, str] | None:
    """The type that each column must have, by its name in Postgres; None: no row is exact."""
    columns = _columns(cached.model, cached.database)
    if columns is None:
        return None
    return {each.name: _IN_POSTGRES.get(each.kind, each.kind) for each in columns}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    attribute: str
    kind: str
    #: As in Django's compiler: the ``from_db_value`` of the field, or of the field it refers to.
    converters: Sequence[Callable[..., Any]]
    expression: Any

    def value(self, found: Any, connection: Any) -> Any:
        value = None if found is None else _CONVERSIONS[self.kind](found, connection)
        for converter in self.converters:
            value = converter(value, self.expression, connection)
        return value


@cache
def _columns(model: AnyModel, using: str) -> tuple[_Column, ...] | None:
    if not _are_read_plainly(model):
        return None
    connection: Any = connections[using]
    columns = []
    for field in model._meta.concrete_fields:
        found = _KIND.fullmatch(field.db_type(connection) or "")
        column: Any = field.get_col(model._meta.db_table)
        if not found or found[1] not in _CONVERSIONS or not _is_read_plainly(column):
            return None
        if field.generated and not getattr(field, "db_persist", True):
            return None
        converters = [
            *connection.ops.get_db_converters(column),
            *column.get_db_converters(connection),
        ]
        name = field.column or ""
        columns.append(_Column(name, field.attname, found[1], converters, column))
    return tuple(columns)


#: A type without its size. An array is another type.
_KIND: Final = re.compile(r"([a-z ]+)(?:\([0-9, ]+\))?")


def _are_read_plainly(model: AnyModel) -> bool:
    """Whether all rows are read, unchanged. A custom base manager may hide or add something."""
    # A manager made from a custom queryset is of another class.
    return type(model._base_manager) is models.Manager


def _is_read_plainly(column: Any) -> bool:
    """Whether a SELECT names only the column."""
    select_format = getattr(type(column.output_field), "select_format", None)
    return type(column) is Col and select_format is models.Field.select_format


def _text(value: Any, connection: Any) -> str:
    if type(value) is not str:
        raise Inexact
    return value


def _integer(value: Any, connection: Any) -> int:
    if type(value) is not int:
        raise Inexact
    return value


def _boolean(value: Any, connection: Any) -> bool:
    if type(value) is not bool:
        raise Inexact
    return value


def _time(value: Any, connection: Any) -> datetime.time:
    if value.startswith("24"):
        raise Inexact  # Only later versions of Python read 24:00 as midnight.
    return datetime.time.fromisoformat(value)


def _float(value: Any, connection: Any) -> float:
    number = float(value)
    if number == 0:
        raise Inexact  # jsonb has no negative zero.
    return number


def _moment(value: Any, connection: Any) -> datetime.datetime:
    # Like Django's own loader: the session's wall clock, with the connection's time zone.
    moment = datetime.datetime.fromisoformat(value)
    if connection.timezone_name != "UTC":
        # Tells the two hours apart that have the same name when the clock is set back.
        moment = moment.astimezone(ZoneInfo(connection.timezone_name))
    return moment.replace(tzinfo=connection.timezone)


_CONVERSIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), _integer),
    **dict.fromkeys(("varchar", "text"), _text),
    "boolean": _boolean,
    "uuid": lambda value, connection: uuid.UUID(value),
    "numeric": lambda value, connection: Decimal(value),
    "double precision": _float,
    "date": lambda value, connection: datetime.date.fromisoformat(value),
    "time": _time,
    "timestamp with time zone": _moment,
}
#: Types whose names in Postgres differ from those in Django.
_IN_POSTGRES: Final = {"varchar": "character varying", "time": "time without time zone"}
