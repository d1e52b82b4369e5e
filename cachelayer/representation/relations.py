"""Django's relations: the rows that each leads to, and the column that shows a change of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import models

#: The start of a stamp's key, after a tenant's schema.
SIGN: Final = "@"
#: In place of a primary key, it means every row of the table.
EVERY: Final = "*"

AnyModel = type[models.Model]


def is_stamp(start: str) -> bool:
    """Whether *start*, the part of a key before the colon, belongs to a stamp."""
    return start.rpartition("/")[2][:1] == SIGN


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table whose values name stamps; without a name, one stamp for all rows."""

    table: str
    name: str

    @property
    def prefix(self) -> str:
        """The part of its stamps' keys before the colon."""
        return f"{SIGN}{self.table}.{self.name}" if self.name else f"{SIGN}{self.table}"


#: Fields whose values Postgres and Python write alike.
_WRITTEN_ALIKE: Final = (models.IntegerField, models.UUIDField, models.CharField, models.TextField)


@cache
def is_written_alike(key: Any) -> bool:
    """Whether Postgres and Python write the values of the field *key* alike."""
    while key.is_relation:
        key = key.target_field
    own = hasattr(key, "from_db_value") or not type(key).__module__.startswith("django.")
    return isinstance(key, _WRITTEN_ALIKE) and not own


@cache
def find(model: AnyModel, name: str) -> Any:
    """The relation *name* of instances of *model*."""
    relations: list[Any] = [each for each in model._meta.get_fields() if each.is_relation]
    for each in relations:
        shown_as = each.get_accessor_name() if is_reverse(each) else each.name
        if shown_as == name:
            if each.related_model is None:
                raise ImproperlyConfigured(
                    f"{model._meta.label}.{name} may refer to a row of any model, and the cache "
                    "cannot follow all models. Leave it out, or show the row by a relation to one "
                    "model."
                )
            return each
    raise ImproperlyConfigured(
        f"{model._meta.label} has no relation {name!r}. In depends_on, name relations of an "
        "instance: a foreign key, a many-to-many field, or the reverse of one."
    )


@cache
def refuse_odd_keys(model: AnyModel, name: str, relation: Any) -> None:
    """Refuse keys that Postgres and Python write differently, because both name stamps."""
    back = relation if is_forward(relation) else getattr(relation, "field", None)
    keys = [target(relation)._meta.pk, model._meta.pk, getattr(back, "target_field", None)]
    if odd := next((key for key in keys if key is not None and not is_written_alike(key)), None):
        raise ImproperlyConfigured(
            f"{model._meta.label}.{name} refers by {odd}, whose values Postgres writes differently "
            "from Python, so the cache cannot tell which row is shown. Leave it out; the cache can "
            "follow keys that are integers, UUIDs or text."
        )


def target(relation: Any) -> AnyModel:
    model: AnyModel = relation.related_model
    return model._meta.concrete_model or model


def is_forward(relation: Any) -> bool:
    return bool((relation.many_to_one or relation.one_to_one) and not is_reverse(relation))


def is_reverse(relation: Any) -> bool:
    return isinstance(relation, models.ForeignObjectRel)


def is_of_links(relation: Any) -> bool:
    return bool(relation.many_to_many)


@cache
def own_column(relation: Any) -> Column:
    """The column that shows which rows *relation* leads to."""
    if is_of_links(relation):
        link = relation.remote_field if is_reverse(relation) else relation
        through = link.remote_field.through
        name = link.m2m_reverse_field_name() if is_reverse(relation) else link.m2m_field_name()
        return Column(through._meta.db_table, through._meta.get_field(name).column)
    if is_forward(relation):
        key = relation.target_field
        return Column(key.model._meta.db_table, key.column)
    if not is_reverse(relation):  # A GenericRelation.
        meta = relation.related_model._meta
        return Column(meta.db_table, meta.get_field(relation.object_id_field_name).column)
    back: Any = relation.field
    return Column(back.model._meta.db_table, back.column)


@cache
def value_of(relation: Any) -> str:
    """The attribute of an instance with the value in ``own_column``."""
    name = "pk"
    if is_forward(relation):
        name = relation.attname
    elif is_reverse(relation) and not is_of_links(relation):
        name = relation.field.target_field.attname
    return name


@cache
def row_columns(relation: Any, model: AnyModel) -> tuple[tuple[Column, str], ...]:
    """The tables behind a row of *model*: the columns of its key, and the attributes.

    The table of rows that refer back is left out, because ``own_column`` covers all of them.
    """
    is_back = not is_forward(relation) and not is_of_links(relation)
    own = own_column(relation).table if is_back else ""
    chain = [model, *(each for each in model._meta.all_parents if not each._meta.proxy)]
    return tuple(
        (Column(each._meta.db_table, key.column), key.attname)
        for each in chain
        if each._meta.db_table != own and (key := _key(each))
    )


def _key(model: AnyModel) -> Any:
    return model._meta.pk


def related(instance: models.Model, name: str, relation: Any) -> Iterable[models.Model]:
    if not (relation.one_to_many or relation.many_to_many):
        try:
            return [row] if (row := getattr(instance, name)) is not None else []
        except ObjectDoesNotExist:
            return []
    rows: Iterable[models.Model] = getattr(instance, name).all()
    return rows
