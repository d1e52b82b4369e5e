"""Rows as JSON bytes, by the serializer that a model is registered with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import orjson
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from cachelayer.representation import neutral, recorder
from cachelayer.representation.plans import Plan, Serializer, made_by_thread, plan_of

_encode_odd_types = DjangoJSONEncoder().default
#: It writes points of time, when a serializer leaves them as they are, in a form of its own.
_AS_REST_FRAMEWORK: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def render(serializer: Serializer, instance: models.Model) -> bytes:
    """The JSON of what *serializer* makes of *instance*, the same in every thread."""
    plan = plan_of(serializer, type(instance))
    stored = instance.__dict__
    if plan is not None and all(column in stored for column in plan.columns):
        return render_values(serializer, plan, [stored[column] for column in plan.columns])
    with _apart(serializer, type(instance), instance.pk):
        return dump(data(serializer, instance), serializer)


def render_values(serializer: Serializer, plan: Plan, values: Sequence[Any]) -> bytes:
    """As ``render``, by *plan*, of the values of its columns."""
    if plan.is_neutral:
        return dump(plan.data(values), serializer)
    with _apart(serializer, plan.model, None):
        return dump(plan.data(values), serializer)


@contextmanager
def _apart(serializer: Serializer, model: type[models.Model], pk: Any) -> Iterator[None]:
    """Away from what the request has switched on, and under the eyes of the recorder."""
    made = made_by_thread(serializer) if hasattr(serializer, "to_representation") else None
    with recorder.watching(serializer, made, model, pk), neutral.context():
        yield


def data(serializer: Serializer, instance: models.Model) -> Any:
    """What *serializer* makes of *instance*, in the context that this thread is in."""
    if not hasattr(serializer, "to_representation"):
        return serializer(instance)
    return made_by_thread(serializer).to_representation(instance)


def dump(data: Any, serializer: Serializer) -> bytes:
    """*data*, which *serializer* has made, as JSON: as REST framework's if that is its."""
    try:
        return _dump(data, serializer)
    except TypeError:
        # A number too large for orjson, which JSON itself and Postgres have no limit for.
        return _dump(_with_large_numbers(data), serializer)


def _dump(data: Any, serializer: Serializer) -> bytes:
    if not hasattr(serializer, "to_representation"):
        return orjson.dumps(data, default=_encode_odd_types, option=orjson.OPT_NON_STR_KEYS)
    return orjson.dumps(data, default=_encoder_of_rest_framework(), option=_AS_REST_FRAMEWORK)


@cache
def _encoder_of_rest_framework() -> Callable[[Any], Any]:
    # Only here: REST framework is needed by those who use its serializers.
    from rest_framework.utils.encoders import JSONEncoder

    return JSONEncoder().default


def _with_large_numbers(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _with_large_numbers(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_with_large_numbers(value) for value in data]
    if isinstance(data, int) and not -(2**63) <= data < 2**64:
        return orjson.Fragment(str(data).encode())
    return data
