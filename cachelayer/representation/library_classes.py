"""Whether a class or a method belongs to REST framework or to the project."""

import sys
from typing import Any


def is_of_rest_framework(serializer: Any, name: str) -> bool:
    """Whether a serializer's method *name* is REST framework's, not an override."""
    owner = owner_of(serializer, name)
    return owner is not None and is_class_of_rest_framework(owner)


def is_class_of_rest_framework(cls: type) -> bool:
    """Whether *cls* is REST framework's. A class that ``type()`` makes has its module name, too."""
    module = cls.__module__
    is_said = module.startswith("rest_framework.")
    return is_said and getattr(sys.modules.get(module), cls.__name__, None) is cls


def owner_of(cls: type, name: str) -> type | None:
    return next((base for base in cls.__mro__ if name in vars(base)), None)
