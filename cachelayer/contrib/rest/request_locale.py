"""Whether the time zone or language of a request changes how a row looks.

The cache holds each row in the project's time zone and language. If a middleware has activated
another one, and the serializer may show it, the view answers without the cache.
"""

from functools import cache
from typing import Any

from django.db import models
from rest_framework import serializers

from cachelayer.representation import neutral, plans, serializer_context
from cachelayer.representation.registration import CachedModel


def shows_otherwise(cached: CachedModel) -> bool:
    """Whether rows of *cached* may look different in this thread from in the cache."""
    by_zone, by_language = _may_ask(cached.serializer, cached.model)
    return (by_zone and not neutral.is_zone()) or (by_language and not neutral.is_language())


@cache
def _may_ask(serializer: Any, model: type[models.Model]) -> tuple[bool, bool]:
    """Whether the row may depend on the current time zone, and on the current language."""
    if not isinstance(serializer, type) or not issubclass(serializer, serializers.BaseSerializer):
        return False, False  # A function's rows can reach a view only from the cache.
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
    """Whether REST framework's own code makes the JSON, from columns and keys only."""
    sources = plans.sources(serializer)
    names = {field.name for field in model._meta.get_fields()}
    return (
        sources is not None
        and sources <= {"pk", *names}
        and neutral.reads_alike(model)
        and not any(isinstance(part, serializers.BaseSerializer) for part in parts[1:])
        and not any(True for part in parts for _ in serializer_context.own_functions(part))
    )
