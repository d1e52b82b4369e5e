"""Documents that a function computes from the database, from its arguments.

The rows that the function reads are declared, because triggers name the stamps: all rows of a
model, or the rows with the value of an argument in one column. The key holds the arguments, so that
``verify`` can compute the document again.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, ValidationError
from django.db import connections, router

from cachelayer import exceptions
from cachelayer.representation import declared_reads, neutral, recorder, relations, tenancy
from cachelayer.representation.relations import EVERY, AnyModel, Column

#: Precedes the cached bytes, because they may be any bytes, and could look like a mark.
VALUE: Final = b"="
_SCALARS: Final = (str, int, bool, type(None))


class Rows:
    """Rows of *model* (or of ``"app.Model"``): all, or those with an argument's value in a column.

    ``Rows(Book, author="author_id")``: the books whose author is the argument ``author_id``.
    """

    def __init__(self, model: "AnyModel | str", **where: str) -> None:
        if len(where) > 1:
            raise ImproperlyConfigured(
                f"Rows of {model} takes one column. Name the one that selects all rows you read."
            )
        self._model = model
        self.where = where

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and (self._model, self.where) == (other._model, other.where)

    def __hash__(self) -> int:
        return hash((self._model, *self.where.items()))

    @property
    def model(self) -> AnyModel:
        found = apps.get_model(self._model) if isinstance(self._model, str) else self._model
        return found._meta.concrete_model or found

    def columns(self) -> Iterator[Column]:
        """The columns that name the stamps."""
        named = [self._field(name) for name in self.where]
        yield from (Column(field.model._meta.db_table, field.column) for field in named)
        # The rows of several tables have no common value that says which rows are meant.
        tables = [each._meta.db_table for each in (self.model, *self.model._meta.all_parents)]
        own = {field.model._meta.db_table for field in named}
        yield from (Column(table, "") for table in dict.fromkeys(tables) if table not in own)

    def stamps(self, given: Mapping[str, Any]) -> Iterator[tuple[Column, Any]]:
        """The columns and their values for the *given* arguments."""
        for column in self.columns():
            # A statement that writes very many rows names none; nor does a stamp for all rows.
            yield column, EVERY
            if column.name:
                [(name, argument)] = self.where.items()
                yield column, self._field(name).to_python(given[argument])

    def _field(self, name: str) -> Any:
        label = self.model._meta.label
        try:
            field: Any = self.model._meta.pk if name == "pk" else self.model._meta.get_field(name)
        except FieldDoesNotExist as error:
            raise ImproperlyConfigured(
                f"{label} has no field {name!r}. Name a column of the model."
            ) from error
        if not field.concrete or field.many_to_many:
            raise ImproperlyConfigured(
                f"{label}.{name} is not a column. Name the model whose rows have the column."
            )
        if not relations.is_written_alike(field):
            raise ImproperlyConfigured(
                f"{label}.{name} has values that Postgres writes differently from Python, so the "
                "cache cannot tell which rows are meant. Depend on all rows of the model."
            )
        return field


@dataclass(frozen=True, slots=True)
class Computed:
    """The documents of a function: their key prefix, argument names, and the rows they read."""

    prefix: str
    arguments: tuple[str, ...]
    reads: tuple[Rows, ...]
    function: Callable[..., bytes]
    lifetime: float | None = None

    is_document: ClassVar = True
    is_query_checked: ClassVar = True

    @property
    def kind(self) -> str:
        """For metrics."""
        return "document"

    @property
    def label(self) -> str:
        """The name for people."""
        return self.prefix

    @property
    def database(self) -> str:
        """The alias of the database of its models."""
        return router.db_for_write(self.reads[0].model)

    @property
    def start(self) -> str:
        """As ``CachedModel.start``."""
        return tenancy.start(self.database, self.reads[0].model._meta.db_table) + self.prefix

    def key(self, values: Sequence[Any]) -> str:
        """The key of the document for *values*; raises as ``start`` does."""
        return f"{self.start}:{_text(values)}"

    def to_python(self, values: Any) -> tuple[Any, ...]:
        """*values* in the form that a key has; ``ValidationError`` if they cannot be in a key."""
        if isinstance(values, str):
            try:
                values = orjson.loads(values)
            except orjson.JSONDecodeError as error:
                raise ValidationError(f"{values!r} is not a JSON array.") from error
        if not isinstance(values, list | tuple) or len(values) != len(self.arguments):
            raise ValidationError(
                f"{self.prefix} takes {len(self.arguments)} arguments: {self.arguments}."
            )
        if wrong := [value for value in values if not isinstance(value, _SCALARS)]:
            raise ValidationError(
                f"{wrong[0]!r} cannot be in a key. Give text, a whole number, a boolean or None."
            )
        if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
            raise ValidationError("A whole number in a key may have at most 64 bits.")
        named = {argument for rows in self.reads for argument in rows.where.values()}
        if any(value is None and name in named for name, value in self._given(values).items()):
            raise ValidationError(f"{self.prefix} reads rows by a value, and None is not a value.")
        return tuple(values)

    def _given(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.arguments, values, strict=True))

    def pk(self, key: str) -> tuple[Any, ...]:
        """The arguments in *key*; ``ValueError`` if the key does not belong to this function."""
        start, _, text = key.partition(":")
        try:
            values = self.to_python(text)
        except ValidationError as error:
            raise ValueError(f"{key!r}: {error.messages[0]}") from error
        if start.rpartition("/")[2] != self.prefix or key != f"{start}:{_text(values)}":
            raise ValueError(f"{key!r} is not a key of {self.prefix}.")
        return values

    def columns(self) -> Iterator[Column]:
        """The columns that name stamps."""
        yield from (column for rows in self.reads for column in rows.columns())

    def tables(self) -> set[str]:
        """The tables whose writes are followed."""
        return {column.table for column in self.columns()}

    def shown_models(self) -> Iterator[AnyModel]:
        """The models whose rows it reads."""
        for rows in self.reads:
            yield rows.model
            yield from rows.model._meta.all_parents

    def stamps(self, values: Sequence[Any]) -> Iterator[tuple[Column, Any]]:
        """Like ``Rows.stamps``, for all rows that are read for the arguments *values*."""
        for rows in self.reads:
            yield from rows.stamps(self._given(values))

    def compute(self, values: Sequence[Any], *, fresh: bool) -> tuple[bytes, set[str]]:
        """The bytes in their cached form, and the tables that were read but not declared.

        The result is the same in every thread: the project's language and time zone apply. With
        *fresh*, compute from Postgres alone, to compare.
        """
        read, elsewhere = declared_reads.Tables(), declared_reads.Tables()
        with ExitStack() as stack:
            for connection in connections.all():
                # A replica has the same tables, but may lag behind.
                look = read if connection.alias == self.database else elsewhere
                stack.enter_context(connection.execute_wrapper(look))
            stack.enter_context(neutral.context())
            found = self.function(*values)
        if not isinstance(found, bytes):
            raise TypeError(f"The function of {self.prefix!r} gave {found!r:.40}. Return bytes.")
        undeclared = read.named - self.tables() - {declared_reads.CONSTANT} | elsewhere.named
        if undeclared and recorder.is_wanted() == "raise":
            raise exceptions.UndeclaredRead(undeclared_message(self.prefix, undeclared))
        return VALUE + found, undeclared


def _text(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()


def undeclared_message(name: str, tables: Iterable[str]) -> str:
    return (
        f"The document {name!r} reads {', '.join(sorted(tables))}, which its depends_on does not "
        "name. So it is not cached, because it would not follow their changes. Name these models "
        "in depends_on."
    )


def make(
    name: str,
    arguments: Sequence[str],
    depends_on: "Iterable[Rows | AnyModel | str]",
    function: Callable[..., bytes],
    lifetime: float | None,
) -> Computed:
    """A checked document; ``ImproperlyConfigured`` says what is wrong."""
    if isinstance(arguments, str):
        raise ImproperlyConfigured(
            f"The arguments of the document {name!r} must be a list of names: [{arguments!r}]."
        )
    reads = tuple(each if isinstance(each, Rows) else Rows(each) for each in depends_on)
    if not reads:
        raise ImproperlyConfigured(
            f"The document {name!r} depends on nothing, so it would never change. In depends_on, "
            "name the models whose rows it reads."
        )
    if unknown := [a for rows in reads for a in rows.where.values() if a not in arguments]:
        raise ImproperlyConfigured(
            f"{unknown[0]!r} in depends_on of the document {name!r} is not one of its arguments. "
            f"Name one of {[*arguments]}, or add it to them."
        )
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ImproperlyConfigured(
            f"The function of the document {name!r} does not take the arguments {list(arguments)}: "
            f"{error}."
        ) from error
    if lifetime is not None and not 0 < lifetime < math.inf:
        raise ImproperlyConfigured(
            f"The document {name!r} has a lifetime of {lifetime!r}. Set it to seconds above 0."
        )
    return Computed(name, tuple(arguments), reads, function, lifetime)


def problem_of(found: Computed) -> str:
    """Why the cache cannot follow *found*, for a check; "" if it can."""
    try:
        list(found.columns())
    except (ImproperlyConfigured, LookupError) as error:
        return str(error)
    if len({router.db_for_write(model) for model in found.shown_models()}) > 1:
        return f"{found.prefix!r} reads rows of several databases, which no transaction spans."
    return ""
