"""Plans that render the rows of plain serializers fast.

REST framework asks every field of a serializer a dozen questions for every row. A plain serializer
has fields that show one column each, and overrides nothing. For it the questions are answered once,
and a row costs one call of ``to_representation`` per column. This also works with the columns'
values alone, without an instance. The bytes are the same as the serializer's, because its own
fields make them.
"""

import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.core.signals import setting_changed
from django.db import models
from django.db.models import signals
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute

from cachelayer.representation import conversions, hyperlinks, neutral
from cachelayer.representation.conversions import Convert
from cachelayer.representation.library_classes import is_of_rest_framework, owner_of

#: A DRF serializer class, or any callable that turns an instance into a dict.
Serializer = Callable[[Any], Any]

#: The attributes that decide how a serializer renders an instance.
_OF_SERIALIZER = ("to_representation", "_readable_fields", "fields")
_OF_LOADING = ("from_db", "__init__", "__setattr__", "__getattribute__")
_OF_FIELD = ("get_attribute", "get_value")


class _Made(threading.local):
    """Serializer instances of each thread, because they must not be shared."""

    def __init__(self) -> None:
        self.serializers: dict[Serializer, Any] = {}
        self.plans: dict[tuple[Serializer, type[models.Model]], Plan | None] = {}


_made = _Made()


def _forget(*, setting: str, **kwargs: object) -> None:
    global _made
    if setting in ("CACHELAYER", "TIME_ZONE", "USE_TZ", "REST_FRAMEWORK"):
        _made = _Made()


setting_changed.connect(_forget, dispatch_uid="cachelayer.rendering")


class Plan:
    """How to render a row: a name, a column and a conversion for each field of a serializer."""

    __slots__ = ("_fields", "columns", "is_neutral", "model")

    def __init__(
        self,
        model: type[models.Model],
        fields: Sequence[tuple[str, str, Convert]],
        is_neutral: bool,
    ) -> None:
        self.model = model
        #: The attributes of an instance, or names for ``values_list``, each once: the first
        #: releases of Django 5.2 give one value for a name that is asked for twice.
        self.columns = list(dict.fromkeys(column for _, column, _ in fields))
        self._fields = [
            (name, self.columns.index(column), convert) for name, column, convert in fields
        ]
        #: Whether no conversion depends on what the thread has activated.
        self.is_neutral = is_neutral

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """What the serializer makes of *values*, which begin with those of ``columns``."""
        return {
            name: None if values[i] is None else convert(values[i])
            for name, i, convert in self._fields
        }


def plan_of(serializer: Serializer, model: type[models.Model]) -> Plan | None:
    """This thread's plan for *serializer* and rows of *model*; None if it is not plain."""
    known = (serializer, model)
    if known not in _made.plans:
        _made.plans[known] = _plan(serializer, model)
    return _made.plans[known]


def made_by_thread(serializer: Serializer) -> Any:
    """This thread's instance of the REST framework class *serializer*."""
    # To make a REST framework serializer takes ten times as long as to render one row.
    made = _made.serializers.get(serializer)
    if made is None:
        made = _made.serializers[serializer] = hyperlinks.made(serializer)
    return made


def _plan(serializer: Serializer, model: type[models.Model]) -> Plan | None:
    if not hasattr(serializer, "to_representation"):
        return None
    # Imported late, because only projects with its serializers need REST framework.
    from rest_framework import serializers

    plain = (serializers.Serializer, serializers.ModelSerializer)
    if not isinstance(serializer, type) or not issubclass(serializer, plain):
        return None
    if any(owner_of(serializer, name) not in (*plain, serializers.BaseSerializer)
           for name in _OF_SERIALIZER):  # fmt: skip
        return None
    fields = []
    is_neutral = neutral.reads_alike(model)
    for field in made_by_thread(serializer)._readable_fields:
        column, convert = _of_relation(field, model) or (_of_column(field, model), None)
        # A property or a descriptor of the model may replace a column's value.
        if not column or not _is_stored(model, column):
            return None
        is_neutral = neutral.is_neutral(field) and is_neutral
        # After ``is_neutral``, which may set the field's time zone.
        fields.append((field.field_name, column, convert or conversions.of(field)))
    return Plan(model, fields, is_neutral)


def _of_column(field: Any, model: type[models.Model]) -> str:
    """The column that *field* plainly shows, else ""."""
    from rest_framework import serializers

    source = "".join(field.source_attrs) if len(field.source_attrs) == 1 else ""
    if source == "pk":
        source = model._meta.pk.attname
    own = any(owner_of(type(field), name) is not serializers.Field for name in _OF_FIELD)
    columns = {each.attname for each in model._meta.concrete_fields if not each.is_relation}
    return source if source in columns and not own else ""


def _of_relation(field: Any, model: type[models.Model]) -> tuple[str, Convert] | None:
    """Like ``_of_column``, and the conversion, for the field of a foreign key."""
    from rest_framework.relations import PrimaryKeyRelatedField

    if type(field) is not PrimaryKeyRelatedField or len(field.source_attrs) != 1:
        return None
    keys = {each.name: each.attname for each in model._meta.concrete_fields if each.is_relation}
    column = keys.get(field.source_attrs[0])
    if column is None or owner_of(model, "serializable_value") is not models.Model:
        return None
    return column, field.pk_field.to_representation if field.pk_field else _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def sources(serializer: Serializer) -> set[str] | None:
    """The attributes of an instance that *serializer* reads; None if unknown."""
    if not hasattr(serializer, "_readable_fields"):
        return None
    if not all(is_of_rest_framework(serializer, name) for name in _OF_SERIALIZER):
        return None
    fields = list(made_by_thread(serializer)._readable_fields)
    if any(field.source == "*" for field in fields):
        return None
    return {field.source_attrs[0] for field in fields}


def _is_stored(model: type[models.Model], name: str) -> bool:
    """Whether an instance has the column's unchanged value under *name* in its ``__dict__``."""
    kind = type(inspect.getattr_static(model, name))
    return kind in (DeferredAttribute, ForeignKeyDeferredAttribute)


def are_values_enough(model: type[models.Model]) -> bool:
    """Whether a loaded instance has exactly the columns' values, unchanged."""
    plain = all(owner_of(model, name) in (models.Model, object) for name in _OF_LOADING)
    return plain and not (
        signals.pre_init.has_listeners(model) or signals.post_init.has_listeners(model)
    )
