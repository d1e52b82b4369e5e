"""What a request has switched on in its thread: whether its view would show a row otherwise.

The cache has each row as the project's time zone and language show it. Where a middleware has
activated others, and the serializer may show them, the view answers as without the cache.
"""

from functools import cache
from typing import Any

from django.db import models
from rest_framework import serializers

from cachelayer.representation import neutral, plans, serializer_context
from cachelayer.representation.registration import CachedModel


def shows_otherwise(cached: CachedModel) -> bool:
    """Whether the row of *cached* may look otherwise in this thread than in the cache."""
    by_zone, by_language = _may_ask(cached.serializer, cached.model)
    return (by_zone and not neutral.is_zone()) or (by_language and not neutral.is_language())


@cache
def _may_ask(serializer: Any, model: type[models.Model]) -> tuple[bool, bool]:
    """Whether the current time zone, and the current language, may be in what is shown."""
    if not isinstance(serializer, type) or not issubclass(serializer, serializers.BaseSerializer):
        return False, False  # No view can show a row by a function but from the cache.
    parts = list(serializer_context.parts(serializer()))
    by_zone = any(
        isinstance(part, serializers.DateTimeField) and not hasattr(part, "timezone")
        for part in parts
    )
    plan = plans.plan_of(serializer, model)
    if plan is not None and plan.is_neutral:
        return by_zone, False
    of_columns = plan is None and _shows_columns(parts, serializer, model)
    by_language = any(getattr(part, "localize", False) for part in parts)
    return by_zone or not of_columns, by_language or not of_columns


def _shows_columns(parts: list[Any], serializer: Any, model: type[models.Model]) -> bool:
    """Whether REST framework alone makes JSON, of nothing but columns and keys."""
    sources = plans.sources(serializer)
    names = {field.name for field in model._meta.get_fields()}
    return (
        sources is not None
        and sources <= {"pk", *names}
        and neutral.reads_alike(model)
        and not any(isinstance(part, serializers.BaseSerializer) for part in parts[1:])
        and not any(True for part in parts for _ in serializer_context.own_functions(part))
    )
