"""What a serializer shows beside its own row: of which tables, the rows with which value where.

A row that is shown stands under its primary key (``@shop_author.id:7``), and the rows that refer
to this one, or that link it to others, under the column that does (``@shop_review.book_id:12``).
Found from the serializer where it can be seen: nested serializers, dotted sources, related fields.
``depends_on`` names the rest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import models

#: What a stamp's key begins with, behind a tenant's schema.
SIGN: Final = "@"

AnyModel = type[models.Model]


def is_stamp(start: str) -> bool:
    """Whether *start*, what a key has before the colon, is a stamp's."""
    return start.rpartition("/")[2][:1] == SIGN


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table by whose values stamps are named."""

    table: str
    name: str

    @property
    def prefix(self) -> str:
        """What keys of its stamps have before the colon."""
        return f"{SIGN}{self.table}.{self.name}"


@dataclass(slots=True)
class Shown:
    """A model's relations that are shown, by their names on an instance; a tree."""

    model: AnyModel
    relations: "dict[str, tuple[Any, Shown]]" = field(default_factory=dict)
    #: Of a many-to-many relation: only the keys of its rows, which the links have.
    is_by_key: bool = False

    def add(self, path: Iterable[str], *, by_key: bool = False) -> None:
        """Also the relation at the end of *path*, and those on the way to it."""
        node = self
        for name in path:
            relation = _relation(node.model, name)
            _refuse_odd_keys(node.model, name, relation)
            if name not in node.relations:
                node.relations[name] = (relation, Shown(_target(relation), is_by_key=by_key))
            elif not by_key:
                node.relations[name][1].is_by_key = False
            node = node.relations[name][1]

    def each_model(self) -> Iterator[AnyModel]:
        """Those whose rows are shown."""
        for _, shown in self.relations.values():
            yield shown.model
            yield from shown.each_model()

    def paths(self, before: str = "") -> Iterator[str]:
        """From the row, as ``depends_on`` has them."""
        for name, (_, shown) in self.relations.items():
            yield f"{before}{name}"
            yield from shown.paths(f"{before}{name}__")

    def lookups(self, before: str = "") -> "Iterator[str | models.Prefetch[Any]]":
        """For ``prefetch_related``: with these loaded, showing an instance takes no query.

        Rows that nobody has given an order come by their keys: else two looks at the same rows
        could differ, and a check would take that for stale.
        """
        for name, (relation, shown) in self.relations.items():
            path = f"{before}{name}"
            rows = shown.model._default_manager.all()
            is_many = relation.one_to_many or relation.many_to_many
            yield (
                models.Prefetch(path, rows.order_by("pk")) if is_many and not rows.ordered else path
            )
            yield from shown.lookups(f"{path}__")

    def columns(self) -> Iterator[Column]:
        """Those by which stamps are named."""
        for relation, shown in self.relations.values():
            yield _own_column(relation)
            if not shown.is_by_key:
                yield from (column for column, _ in _row_columns(relation, shown.model))
            yield from shown.columns()

    def tables(self) -> set[str]:
        """Those whose writes are followed."""
        models = [self.model, *self.each_model()]
        chains = {each for model in models for each in (model, *model._meta.all_parents)}
        return {each._meta.db_table for each in chains} | {each.table for each in self.columns()}

    def stamps(self, instance: models.Model) -> Iterator[tuple[Column, Any]]:
        """What *instance* shows, with its relations loaded: columns and their values."""
        for name, (relation, shown) in self.relations.items():
            value = getattr(instance, _value_of(relation))
            if value is None:
                continue  # Its own row says that there is none.
            yield _own_column(relation), value
            if shown.is_by_key:
                continue
            for related in _related(instance, name, relation):
                for column, attribute in _row_columns(relation, shown.model):
                    yield column, getattr(related, attribute)
                yield from shown.stamps(related)


@cache
def of(model: AnyModel, serializer: Any, depends_on: tuple[str, ...] = ()) -> Shown | None:
    """What *serializer* shows of rows of *model* beside the row; None where that is nothing.

    Raises ``ImproperlyConfigured`` for a path that *model* has not.
    """
    shown = Shown(model)
    for path in depends_on:
        shown.add(path.split("__"))
    _look(serializer, shown)
    return shown if shown.relations else None


def _look(serializer: Any, shown: Shown) -> None:
    if not hasattr(serializer, "to_representation") or not isinstance(serializer, type):
        return
    _look_at_fields(_fields(serializer), shown, ())


def _fields(serializer: Any) -> Mapping[str, Any]:
    try:
        made: Any = serializer()
        fields: Mapping[str, Any] = made.fields
    except Exception:  # It fails where it is used, and there it is said.
        return {}
    return fields


def _look_at_fields(fields: Mapping[str, Any], shown: Shown, path: tuple[str, ...]) -> None:
    for name, each in fields.items():
        source = each.source or name
        if each.write_only:
            continue
        way = () if source == "*" else tuple(source.split("."))
        inner = getattr(each, "child", None) or getattr(each, "child_relation", None) or each
        relations = _on_the_way(shown.model, (*path, *way))
        if hasattr(inner, "fields"):
            if len(relations) == len(path) + len(way):
                if relations:
                    shown.add(relations)
                _look_at_fields(inner.fields, shown, relations)
        elif len(relations) == len(path) + len(way) and way:
            _look_at_related_field(inner, shown, relations)
        elif len(relations) > len(path):
            shown.add(relations)


def _look_at_related_field(inner: Any, shown: Shown, path: tuple[str, ...]) -> None:
    relation = _relation_at(shown.model, path)
    # A manager of its own may hide rows by what is in them.
    is_plain = _is_forward(relation) or type(_target(relation)._default_manager) is models.Manager
    by_key = _shows_keys(inner) and is_plain
    is_link = _is_of_links(relation)
    # Its key is a column of the row before it; and a row's own links are a part of it.
    if by_key and (
        _is_forward(relation) or (is_link and not _is_reverse(relation) and len(path) == 1)
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
    """The first names of *path* that are relations, one of the other."""
    found: list[str] = []
    for name in path:
        try:
            relation = _relation(model, name)
        except ImproperlyConfigured:
            break
        found.append(name)
        model = _target(relation)
    return tuple(found)


def _relation_at(model: AnyModel, path: tuple[str, ...]) -> Any:
    relation = None
    for name in path:
        relation = _relation(model, name)
        model = _target(relation)
    return relation


#: Fields whose values Postgres writes as Python does.
_WRITTEN_ALIKE: Final = (models.IntegerField, models.UUIDField, models.CharField, models.TextField)


@cache
def is_written_alike(key: Any) -> bool:
    """Whether Postgres writes the values of the field *key* as Python does."""
    while key.is_relation:
        key = key.target_field
    own = hasattr(key, "from_db_value") or not type(key).__module__.startswith("django.")
    return isinstance(key, _WRITTEN_ALIKE) and not own


def is_relation(model: AnyModel, name: str) -> bool:
    """Whether an instance of *model* has related rows under *name*."""
    return bool(_on_the_way(model, (name,)))


@cache
def _relation(model: AnyModel, name: str) -> Any:
    """The relation that instances of *model* have under *name*."""
    relations: list[Any] = [each for each in model._meta.get_fields() if each.is_relation]
    for each in relations:
        shown_as = each.get_accessor_name() if _is_reverse(each) else each.name
        if shown_as == name:
            if each.related_model is None:
                raise ImproperlyConfigured(
                    f"{model._meta.label}.{name} may refer to a row of any model, and nobody can "
                    "follow all of them. Leave it out, or show the row by a relation of one model."
                )
            return each
    raise ImproperlyConfigured(
        f"{model._meta.label} has no relation {name!r}. Name in depends_on what an instance has: "
        "a foreign key, a many-to-many field, or the way back to one of them."
    )


@cache
def _refuse_odd_keys(model: AnyModel, name: str, relation: Any) -> None:
    """Triggers name stamps as Postgres writes values, and readers as Python does."""
    back = relation if _is_forward(relation) else getattr(relation, "field", None)
    keys = [_target(relation)._meta.pk, model._meta.pk, getattr(back, "target_field", None)]
    if odd := next((key for key in keys if key is not None and not is_written_alike(key)), None):
        raise ImproperlyConfigured(
            f"{model._meta.label}.{name} refers by {odd}, whose values Postgres writes otherwise "
            "than Python: nobody could tell which row is shown. Leave it out; keys that are "
            "integers, UUIDs or text can be followed."
        )


def _target(relation: Any) -> AnyModel:
    target: AnyModel = relation.related_model
    return target._meta.concrete_model or target


def _is_forward(relation: Any) -> bool:
    return bool((relation.many_to_one or relation.one_to_one) and not _is_reverse(relation))


def _is_reverse(relation: Any) -> bool:
    return isinstance(relation, models.ForeignObjectRel)


def _is_of_links(relation: Any) -> bool:
    return bool(relation.many_to_many)


@cache
def _own_column(relation: Any) -> Column:
    """Where a change of what *relation* leads to is seen."""
    if _is_of_links(relation):
        link = relation.remote_field if _is_reverse(relation) else relation
        through = link.remote_field.through
        name = link.m2m_reverse_field_name() if _is_reverse(relation) else link.m2m_field_name()
        return Column(through._meta.db_table, through._meta.get_field(name).column)
    if _is_forward(relation):
        target = relation.target_field
        return Column(target.model._meta.db_table, target.column)
    if not _is_reverse(relation):  # A GenericRelation.
        related = relation.related_model._meta
        return Column(related.db_table, related.get_field(relation.object_id_field_name).column)
    back: Any = relation.field
    return Column(back.model._meta.db_table, back.column)


@cache
def _value_of(relation: Any) -> str:
    """The attribute of an instance that has the value in ``_own_column``."""
    name = "pk"
    if _is_forward(relation):
        name = relation.attname
    elif _is_reverse(relation) and not _is_of_links(relation):
        name = relation.field.target_field.attname
    return name


@cache
def _row_columns(relation: Any, model: AnyModel) -> tuple[tuple[Column, str], ...]:
    """The tables that a row of *model* is made of: the columns of its key, and the attributes.

    Without the table of rows that refer back: ``_own_column`` has all of these.
    """
    is_back = not _is_forward(relation) and not _is_of_links(relation)
    own = _own_column(relation).table if is_back else ""
    chain = [model, *(each for each in model._meta.all_parents if not each._meta.proxy)]
    return tuple(
        (Column(each._meta.db_table, key.column), key.attname)
        for each in chain
        if each._meta.db_table != own and (key := _key(each))
    )


def _key(model: AnyModel) -> Any:
    return model._meta.pk


def _related(instance: models.Model, name: str, relation: Any) -> Iterable[models.Model]:
    if not (relation.one_to_many or relation.many_to_many):
        try:
            return [related] if (related := getattr(instance, name)) is not None else []
        except ObjectDoesNotExist:
            return []
    rows: Iterable[models.Model] = getattr(instance, name).all()
    return rows
