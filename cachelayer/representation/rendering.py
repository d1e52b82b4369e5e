"""Renders rows as JSON bytes with the registered serializer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final

import orjson
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from cachelayer.representation import neutral, recorder
from cachelayer.representation.plans import Plan, Serializer, made_by_thread, plan_of

_encode_odd_types = DjangoJSONEncoder().default
#: REST framework formats datetimes that a serializer leaves unchanged in its own way.
_AS_REST_FRAMEWORK: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def render(serializer: Serializer, instance: models.Model) -> bytes:
    """The JSON of *instance* as *serializer* shows it, the same in every thread."""
    plan = plan_of(serializer, type(instance))
    stored = instance.__dict__
    if plan is not None and all(column in stored for column in plan.columns):
        return render_values(serializer, plan, [stored[column] for column in plan.columns])
    with _apart(serializer, type(instance), instance.pk):
        return dump(data(serializer, instance), serializer)


def render_values(serializer: Serializer, plan: Plan, values: Sequence[Any]) -> bytes:
    """Like ``render``, from the *values* of the columns of *plan*."""
    if plan.is_neutral:
        return dump(plan.data(values), serializer)
    with _apart(serializer, plan.model, None):
        return dump(plan.data(values), serializer)


@contextmanager
def _apart(serializer: Serializer, model: type[models.Model], pk: Any) -> Iterator[None]:
    """Inside, what the request has activated does not apply, and the recorder watches."""
    made = made_by_thread(serializer) if hasattr(serializer, "to_representation") else None
    with recorder.watching(serializer, made, model, pk), neutral.context():
        yield


def data(serializer: Serializer, instance: models.Model) -> Any:
    """The data of *instance* from *serializer*, in the current context of this thread."""
    if not hasattr(serializer, "to_representation"):
        return serializer(instance)
    return made_by_thread(serializer).to_representation(instance)


def dump(data: Any, serializer: Serializer) -> bytes:
    """*data* from *serializer* as JSON, in REST framework's form if the serializer is its."""
    dumps = _dumps(hasattr(serializer, "to_representation"))
    try:
        return dumps(data)
    except TypeError:
        # The number is too large for orjson; JSON itself and Postgres have no limit.
        return dumps(_with_large_numbers(data))


@cache
def _dumps(is_of_rest_framework: bool) -> Callable[[Any], bytes]:
    if not is_of_rest_framework:
        return partial(orjson.dumps, default=_encode_odd_types, option=orjson.OPT_NON_STR_KEYS)
    encoder = _encoder_of_rest_framework()
    return partial(orjson.dumps, default=encoder, option=_AS_REST_FRAMEWORK)


def _encoder_of_rest_framework() -> Callable[[Any], Any]:
    # Imported late, because only projects with its serializers need REST framework.
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
