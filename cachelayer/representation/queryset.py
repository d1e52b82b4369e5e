"""``CachedManager`` and ``CachedQuerySet``: names of the first release, which do nothing now."""

import warnings
from typing import Any, TypeVar

from django.db import models

T = TypeVar("T", bound=models.Model)

_SENTENCE = (
    "cachelayer.{} does nothing more than Django's own: triggers follow every write. "
    "Use models.{} in its place; this name goes with the next release."
)


class CachedQuerySet(models.QuerySet[T]):
    """``models.QuerySet``; warns where a subclass is made of it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        _warn("CachedQuerySet", "QuerySet")
        super().__init_subclass__(**kwargs)


class CachedManager(models.Manager[T]):
    """``models.Manager``; warns where it is made."""

    def __init__(self) -> None:
        _warn("CachedManager", "Manager")
        super().__init__()


def _warn(name: str, instead: str) -> None:
    warnings.warn(_SENTENCE.format(name, instead), DeprecationWarning, stacklevel=3)
