"""Finds queries that read more than the row. The cache would not notice changes of the rest."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.db import connections, models

from cachelayer.representation import own_tables

_TABLE: Final = re.compile(r'\b(?:from|join|into|update)\s+"?(\w+)"?(?:\."?(\w+)"?)?', re.I)
#: A FROM that does not name a table: ``extract(year FROM created_at)``, ``trim(BOTH FROM name)``,
#: ``a IS DISTINCT FROM b``. Without brackets, no subquery precedes it.
_NO_TABLE: Final = re.compile(
    r"\b(?:(?:extract|substring|trim|overlay)\s*\([^()]*?|is\s+(?:not\s+)?distinct\s+)\bfrom\b",
    re.I,
)
#: A table whose rows never change.
CONSTANT: Final = "django_content_type"


def tables(sql: str) -> set[str]:
    """The tables that *sql* names."""
    return {first for first, _ in _found(sql)}


def _found(sql: str) -> list[tuple[str, str]]:
    """Names, each with the name after a dot."""
    return _TABLE.findall(_NO_TABLE.sub(" ", sql))


class Tables:
    """An execute wrapper that notes which tables a connection's statements name."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    def __call__(self, execute: Callable[..., Any], sql: Any, *args: Any) -> Any:
        self.named |= tables(str(sql))
        return execute(sql, *args)


class Queries:
    """Notes which tables are queried while a row is rendered, except those of the row itself."""

    def __init__(self, model: type[models.Model], serializer: Any, pk: Any, using: str) -> None:
        self._model, self._serializer, self._pk, self._using = model, serializer, pk, using
        self.undeclared: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> "Queries":
        for connection in connections.all():
            is_own = connection.alias == self._using
            check = self._check if is_own else self._check_elsewhere
            self._stack.enter_context(connection.execute_wrapper(check))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def _check(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        known = row(self._model, self._serializer)
        if not known.is_read(str(sql), params, self._pk):
            self.undeclared = self.undeclared or tables(str(sql))
        return execute(sql, params, many, context)

    def _check_elsewhere(self, execute: Callable[..., Any], sql: Any, *args: Any) -> Any:
        self.undeclared = self.undeclared or tables(str(sql))
        return execute(sql, *args)


@dataclass(frozen=True, slots=True)
class Row:
    """The tables of one model's rows, as one serializer shows them."""

    #: The tables that the row consists of (of the model, its parents, its links), with the columns
    #: of its key.
    tables: dict[str, str]
    #: The tables that the row links to, with the columns of their keys.
    targets: dict[str, str]
    #: The names of the followed links.
    links: frozenset[str]

    def is_read(self, sql: str, params: Any, pk: Any) -> bool:
        """Whether *sql* reads only rows whose writes are writes of the row *pk*."""
        # A name may follow the name of a schema.
        named = [set(names) for names in _found(sql)]
        if all(CONSTANT in names for names in named):
            return True
        if not all(names & {*self.tables, *self.targets, CONSTANT} for names in named):
            return False
        by_key = any(
            re.search(rf'(?<!\w)"?{column}"?\s*(?:=|in\s*\()\s*%s', sql, re.I)
            for column in self.tables.values()
        )
        return (
            by_key
            and str(pk) in map(str, params or ())
            and all(
                set(re.findall(rf'"{table}"\."(\w+)"', sql)) <= {column}
                for table, column in self.targets.items()
            )
        )

    def is_shown(self, field: Any) -> bool:
        """Whether *field* is REST framework's field for the keys of a followed link."""
        from rest_framework.relations import ManyRelatedField, PrimaryKeyRelatedField

        return (
            type(field) is ManyRelatedField
            and type(field.child_relation) is PrimaryKeyRelatedField
            and field.source_attrs[0] in self.links
        )


@cache
def row(model: type[models.Model], serializer: Any) -> Row:
    """The ``Row`` of *model*, as *serializer* shows it."""
    links = own_tables.links(model, serializer)
    own = dict(own_tables.tables(model, serializer))
    targets: list[Any] = [link.related_model._meta for link in links]
    return Row(
        own,
        {meta.db_table: meta.pk.column for meta in targets if meta.db_table not in own},
        frozenset(link.name for link in links),
    )
