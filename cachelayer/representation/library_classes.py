"""Whether a class or a method is REST framework's own, or the project's."""

import sys
from typing import Any


def is_of_rest_framework(serializer: Any, name: str) -> bool:
    """Whether a serializer's method *name* is REST framework's, and nobody's own."""
    owner = owner_of(serializer, name)
    return owner is not None and is_class_of_rest_framework(owner)


def is_class_of_rest_framework(cls: type) -> bool:
    """Also a serializer that ``type()`` makes says that REST framework's is its module."""
    module = cls.__module__
    is_said = module.startswith("rest_framework.")
    return is_said and getattr(sys.modules.get(module), cls.__name__, None) is cls


def owner_of(cls: type, name: str) -> type | None:
    return next((base for base in cls.__mro__ if name in vars(base)), None)
