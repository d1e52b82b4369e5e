"""What a REST framework serializer needs from its context, found in its code without a request.

A cached row is rendered for everybody, so there is no request. A serializer needs a request either
for the base of its URLs, which ``hyperlinks.py`` supplies, or for something else.
"""

from collections.abc import Iterator
from enum import Enum
from functools import cache
from types import CodeType, FunctionType
from typing import Any, Final

from django.http import HttpRequest
from rest_framework import relations, serializers
from rest_framework.request import Request

from cachelayer import conf
from cachelayer.representation import library_classes


class Needs(Enum):
    """What a serializer needs from a request."""

    NOTHING = "nothing"
    #: The start of absolute URLs.
    BASE_URL = "base url"
    #: Something that only a request has, such as the user.
    REQUEST = "request"


#: Methods of a serializer that only writes call.
_WRITING: Final = ("create", "update", "save", "is_valid", "run_validation", "to_internal_value")
_CONTEXT: Final = frozenset({"context", "_context"})
_OF_REQUEST: Final = frozenset({*dir(Request), *vars(HttpRequest()), *dir(HttpRequest)}) - {
    "build_absolute_uri"
}


@cache
def of(serializer: Any) -> Needs:
    """What *serializer* needs to show a row."""
    if not isinstance(serializer, type) or not issubclass(serializer, serializers.BaseSerializer):
        return Needs.NOTHING  # A function of the row.
    try:
        found = list(parts(serializer()))
        if any(map(_asks_context, found)):
            return Needs.REQUEST
        return Needs.BASE_URL if any(map(shows_url, found)) else Needs.NOTHING
    except Exception:
        return Needs.REQUEST  # The serializer cannot be made without a request.


def is_given(serializer: Any) -> bool:
    """Whether *serializer* needs nothing, or only the base URL from the settings."""
    needs = of(serializer)
    return needs is Needs.NOTHING or (needs is Needs.BASE_URL and bool(conf.get().BASE_URL))


def shows_url(field: Any) -> bool:
    """Whether *field* shows a URL, which a request makes absolute."""
    if isinstance(field, serializers.FileField):
        return bool(getattr(field, "use_url", True))
    return isinstance(field, relations.HyperlinkedRelatedField)  # Or HyperlinkedIdentityField.


def parts(field: Any) -> Iterator[Any]:
    """A serializer instance, its readable fields, and their fields."""
    yield field
    if isinstance(field, serializers.Serializer):
        for shown in field._readable_fields:
            yield from parts(shown)
    for name in ("child", "child_relation"):
        if (each := getattr(field, name, None)) is not None:
            yield from parts(each)


def _asks_context(part: Any) -> bool:
    return any(
        _CONTEXT & _names(function.__code__) or _reads_request(function.__code__)
        for function in own_functions(part)
    )


def own_functions(part: Any) -> Iterator[FunctionType]:
    """The project's functions of a serializer or a field that a read may call."""
    return (
        function
        for base in type(part).__mro__
        if not library_classes.is_class_of_rest_framework(base)
        for name, value in vars(base).items()
        if name not in _WRITING and not name.startswith("validate")
        for function in _functions(value)
    )


def _reads_request(code: CodeType) -> bool:
    """Whether *code* may read more from its argument ``request`` than a base URL has."""
    return "request" in code.co_varnames and bool(_OF_REQUEST & set(code.co_names))


def _functions(value: Any) -> Iterator[FunctionType]:
    found = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "func"))]
    return (each for each in found if isinstance(each, FunctionType))


def _names(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    texts = {each for each in code.co_consts if isinstance(each, str)}
    return texts.union(code.co_names, *map(_names, inner))
