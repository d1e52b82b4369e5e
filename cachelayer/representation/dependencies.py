"""Which other rows a serializer shows: their tables, columns and values.

The stamp of a shown row has its primary key (``@shop_author.id:7``). The stamp of rows that refer
to this row, or that link it to others, has the column that refers (``@shop_review.book_id:12``).
They are found from the serializer as far as possible: nested serializers, dotted sources, related
fields. ``depends_on`` names the rest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models

from cachelayer.representation import relations
from cachelayer.representation.relations import AnyModel


@dataclass(slots=True)
class Shown:
    """The shown relations of a model, by their names on an instance; a tree."""

    model: AnyModel
    by_name: "dict[str, tuple[Any, Shown]]" = field(default_factory=dict)
    #: Whether only the keys of a many-to-many relation are shown, which the links hold.
    is_by_key: bool = False

    def add(self, path: Iterable[str], *, by_key: bool = False) -> None:
        """Add the relation at the end of *path*, and those on the way to it."""
        node = self
        for name in path:
            relation = relations.find(node.model, name)
            relations.refuse_odd_keys(node.model, name, relation)
            if name not in node.by_name:
                node.by_name[name] = (
                    relation,
                    Shown(relations.target(relation), is_by_key=by_key),
                )
            elif not by_key:
                node.by_name[name][1].is_by_key = False
            node = node.by_name[name][1]

    def each_model(self) -> Iterator[AnyModel]:
        """The models whose rows are shown."""
        for _, shown in self.by_name.values():
            yield shown.model
            yield from shown.each_model()

    def paths(self, before: str = "") -> Iterator[str]:
        """The paths from the row, in the form of ``depends_on``."""
        for name, (_, shown) in self.by_name.items():
            yield f"{before}{name}"
            yield from shown.paths(f"{before}{name}__")

    def lookups(self, before: str = "") -> "Iterator[str | models.Prefetch[Any]]":
        """For ``prefetch_related``: with these loaded, rendering an instance needs no query.

        Rows without an order are ordered by their keys. Otherwise two loads of the same rows could
        differ, and a check would take the difference for stale.
        """
        for name, (relation, shown) in self.by_name.items():
            path = f"{before}{name}"
            rows = shown.model._default_manager.all()
            is_many = relation.one_to_many or relation.many_to_many
            yield (
                models.Prefetch(path, rows.order_by("pk")) if is_many and not rows.ordered else path
            )
            yield from shown.lookups(f"{path}__")

    def columns(self) -> Iterator[relations.Column]:
        """The columns that name stamps."""
        for relation, shown in self.by_name.values():
            yield relations.own_column(relation)
            if not shown.is_by_key:
                yield from (column for column, _ in relations.row_columns(relation, shown.model))
            yield from shown.columns()

    def tables(self) -> set[str]:
        """The tables whose writes are followed."""
        models = [self.model, *self.each_model()]
        chains = {each for model in models for each in (model, *model._meta.all_parents)}
        return {each._meta.db_table for each in chains} | {each.table for each in self.columns()}

    def stamps(self, instance: models.Model) -> Iterator[tuple[relations.Column, Any]]:
        """The columns and values of the rows that *instance* shows; its relations are loaded."""
        for name, (relation, shown) in self.by_name.items():
            value = getattr(instance, relations.value_of(relation))
            if value is None:
                continue  # The row itself says that there is no related row.
            yield relations.own_column(relation), value
            if shown.is_by_key:
                continue
            for related in relations.related(instance, name, relation):
                for column, attribute in relations.row_columns(relation, shown.model):
                    yield column, getattr(related, attribute)
                yield from shown.stamps(related)


@cache
def of(
    model: AnyModel, serializer: Any, depends_on: tuple[str, ...] = (), links: tuple[str, ...] = ()
) -> Shown | None:
    """What *serializer* shows besides a row of *model* itself; None if nothing.

    The row's own *links* are left out, because they are a part of the row. Raises
    ``ImproperlyConfigured`` for a path that *model* does not have.
    """
    shown = Shown(model)
    for link in links:
        shown.add([link], by_key=True)
    for path in depends_on:
        shown.add(path.split("__"))
    _collect(serializer, shown)
    return shown if shown.by_name else None


def _collect(serializer: Any, shown: Shown) -> None:
    if not hasattr(serializer, "to_representation") or not isinstance(serializer, type):
        return
    _collect_fields(_fields(serializer), shown, ())


def _fields(serializer: Any) -> Mapping[str, Any]:
    try:
        made: Any = serializer()
        fields: Mapping[str, Any] = made.fields
    except Exception:  # The error is reported where the serializer is used.
        return {}
    return fields


def _collect_fields(fields: Mapping[str, Any], shown: Shown, path: tuple[str, ...]) -> None:
    for name, each in fields.items():
        source = each.source or name
        if each.write_only:
            continue
        way = () if source == "*" else tuple(source.split("."))
        inner = getattr(each, "child", None) or getattr(each, "child_relation", None) or each
        followed = _on_the_way(shown.model, (*path, *way))
        if hasattr(inner, "fields"):
            if len(followed) == len(path) + len(way):
                if followed:
                    shown.add(followed)
                _collect_fields(inner.fields, shown, followed)
        elif len(followed) == len(path) + len(way) and way:
            _collect_related_field(inner, shown, followed)
        elif len(followed) > len(path):
            shown.add(followed)


def _collect_related_field(inner: Any, shown: Shown, path: tuple[str, ...]) -> None:
    relation = _relation_at(shown.model, path)
    # A custom manager may hide rows by their content.
    is_plain = (
        relations.is_forward(relation)
        or type(relations.target(relation)._default_manager) is models.Manager
    )
    by_key = _shows_keys(inner) and is_plain
    is_link = relations.is_of_links(relation)
    # The key is a column of the previous row, and a row's own links are a part of the row.
    if by_key and (
        relations.is_forward(relation)
        or (is_link and not relations.is_reverse(relation) and len(path) == 1)
    ):
        shown.add(path[:-1])
    else:
        shown.add(path, by_key=by_key and is_link)


def _shows_keys(field: Any) -> bool:
    names = {base.__name__ for base in type(field).__mro__}
    if "HyperlinkedRelatedField" in names:
        return bool(field.lookup_field == "pk")
    return "PrimaryKeyRelatedField" in names


def _on_the_way(model: AnyModel, path: tuple[str, ...]) -> tuple[str, ...]:
    """The leading names of *path* that are relations, each of the model before it."""
    found: list[str] = []
    for name in path:
        try:
            relation = relations.find(model, name)
        except ImproperlyConfigured:
            break
        found.append(name)
        model = relations.target(relation)
    return tuple(found)


def _relation_at(model: AnyModel, path: tuple[str, ...]) -> Any:
    relation = None
    for name in path:
        relation = relations.find(model, name)
        model = relations.target(relation)
    return relation


def is_relation(model: AnyModel, name: str) -> bool:
    """Whether an instance of *model* has related rows under *name*."""
    return bool(_on_the_way(model, (name,)))
