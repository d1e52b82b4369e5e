"""``CachedManager`` and ``CachedQuerySet``, names of the first release without a function now."""

import warnings
from typing import Any, TypeVar

from django.db import models

T = TypeVar("T", bound=models.Model)

_SENTENCE = (
    "cachelayer.{} does no more than Django's own, because triggers follow every write. "
    "Use models.{} instead; the next release removes this name."
)


class CachedQuerySet(models.QuerySet[T]):
    """``models.QuerySet``; warns when it is subclassed."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        _warn("CachedQuerySet", "QuerySet")
        super().__init_subclass__(**kwargs)


class CachedManager(models.Manager[T]):
    """``models.Manager``; warns when an instance is made."""

    def __init__(self) -> None:
        _warn("CachedManager", "Manager")
        super().__init__()


def _warn(name: str, instead: str) -> None:
    warnings.warn(_SENTENCE.format(name, instead), DeprecationWarning, stacklevel=3)
