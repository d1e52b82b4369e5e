"""The shape of a representation: a hash of everything that decides the bytes of a row.

Two releases with the same fingerprint render a row alike. The hash covers the serializer and all
project code that it names, the columns of the model, the versions of libraries, and the settings
that REST framework and Django use to render. A deploy that changes other lines keeps its cache.

The hash uses bytecode, because a file may have changed since it was loaded.
"""

import functools
import hashlib
import inspect
import re
import sys
import types
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import models
from django.urls import get_resolver
from django.utils import translation

from cachelayer import conf
from cachelayer.representation import plans

#: The settings that Django and REST framework use to render a value.
SETTINGS: Final = (
    *("TIME_ZONE", "USE_TZ", "LANGUAGE_CODE", "MEDIA_URL", "REST_FRAMEWORK"),
    *("DATE_FORMAT", "DATETIME_FORMAT", "TIME_FORMAT", "USE_THOUSAND_SEPARATOR"),
)
#: REST framework's settings, without those for throttles, parsers or pages.
_OF_REST_FRAMEWORK: Final = (
    *("DATE_FORMAT", "DATETIME_FORMAT", "TIME_FORMAT", "COERCE_DECIMAL_TO_STRING"),
    *("COERCE_BIGINT_TO_STRING", "UNICODE_JSON", "COMPACT_JSON", "STRICT_JSON"),
    *("UPLOADED_FILES_USE_URL", "URL_FORMAT_OVERRIDE", "FORMAT_SUFFIX_KWARG"),
)
_LIBRARIES: Final = ("django", "djangorestframework", "orjson")
#: This package counts as a library, even as a checkout. Its modules hold the state of one process
#: (connections, the epoch, shapes), so workers would get different hashes for the same view.
_OURS: Final = "cachelayer."
_TESTS: Final = "cachelayer.tests."
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


def of(model: type[models.Model], serializer: Any, version: str = "") -> str:
    """The fingerprint of *model*'s rows as *serializer* shows them: 12 hexadecimal digits."""
    # Plain columns do not use the model's code.
    code = [serializer] if plans.plan_of(serializer, model) else [serializer, model]
    with translation.override(settings.LANGUAGE_CODE):
        shown = [*_columns(model), *_urls(serializer), *_Code().of(*code)]
    parts = [version, *_environment(), *shown]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def of_function(code: Any, shown: Iterable[type[models.Model]] = ()) -> str:
    """Like ``of``, for a function or a view that shows rows of the models *shown*."""
    with translation.override(settings.LANGUAGE_CODE):
        columns = [column for model in shown for column in _columns(model)]
        parts = [*_environment(), *columns, *_Code().of(code)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _environment() -> Iterator[str]:
    yield sys.implementation.cache_tag or ""
    for library in _LIBRARIES:
        try:
            yield metadata.version(library)
        except metadata.PackageNotFoundError:
            yield "-"
    for name in SETTINGS:
        value = getattr(settings, name, None)
        if name == "REST_FRAMEWORK":
            value = {key: each for key, each in (value or {}).items() if key in _OF_REST_FRAMEWORK}
        yield f"{name}={_text(value)}"


def _columns(model: type[models.Model]) -> Iterator[str]:
    for field in model._meta.concrete_fields:
        yield f"{field.attname} {type(field).__qualname__} {field.column}"


def _urls(serializer: Any) -> Iterator[str]:
    """The parts of the URLs that *serializer* shows; nothing if it shows no URLs."""
    if not hasattr(serializer, "to_representation"):
        return  # A function names only code.
    # Imported late, because only projects with its serializers need REST framework.
    from cachelayer.representation import serializer_context

    if serializer_context.of(serializer) is serializer_context.Needs.BASE_URL:
        yield conf.get().BASE_URL
        yield _text(getattr(settings, "STORAGES", None))
        yield from _patterns(get_resolver(settings.ROOT_URLCONF))


def _patterns(resolver: Any) -> Iterator[str]:
    for entry in resolver.url_patterns:
        yield f"{entry.pattern} {getattr(entry, 'name', None)}"
        if hasattr(entry, "url_patterns"):
            yield from _patterns(entry)


def _text(value: Any) -> str:
    """*value* as text that is the same in every process."""
    if isinstance(value, dict):
        return ",".join(f"{key}:{_text(each)}" for key, each in sorted(value.items(), key=str))
    if isinstance(value, (set, frozenset)):
        return ",".join(sorted(map(_text, value)))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, models.QuerySet):
        return _query(value)
    return _ADDRESS.sub("", repr(value))


def _query(queryset: models.QuerySet[Any]) -> str:
    """Not its repr, which loads the rows, so that each process would hash a view differently."""
    try:
        return str(queryset.query)
    except EmptyResultSet:
        return f"{queryset.model._meta.label}: none"


class _Code:
    """Walks from a piece of code to all project code that it names."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def of(self, *roots: Any) -> Iterator[str]:
        for root in roots:
            if id(root) in self._seen:
                continue
            self._seen.add(id(root))
            yield from self._of(inspect.unwrap(root) if callable(root) else root)

    def _of(self, thing: Any) -> Iterator[str]:
        if isinstance(thing, (staticmethod, classmethod)):
            thing = thing.__func__
        if isinstance(thing, property):
            yield from self.of(*filter(None, (thing.fget, thing.fset)))
        elif isinstance(thing, types.MethodType):
            yield from self.of(thing.__func__, type(thing.__self__))
        elif isinstance(thing, types.FunctionType):
            yield from self._of_function(thing)
        elif isinstance(thing, functools.partial):
            yield _text([thing.args, thing.keywords])
            yield from self.of(thing.func)
        elif isinstance(thing, type):
            yield from self._of_class(thing)
        elif callable(thing) and not isinstance(thing, types.BuiltinFunctionType):
            yield from self.of(type(thing))
        elif not isinstance(thing, types.ModuleType):
            yield _text(thing)

    def _of_function(self, function: types.FunctionType) -> Iterator[str]:
        yield f"{function.__module__}.{function.__qualname__}"
        if not _is_own(function):
            return
        yield _text([function.__defaults__, function.__kwdefaults__])
        names: set[str] = set()
        for code in _codes(function.__code__):
            yield code.co_code.hex()
            yield _text([const for const in code.co_consts if not inspect.iscode(const)])
            yield _text(code.co_names)
            names.update(code.co_names)
        named = [function.__globals__[name] for name in sorted(names & function.__globals__.keys())]
        # An import inside a function names the module.
        named += [sys.modules[name] for name in sorted(names & sys.modules.keys())]
        of_modules = [
            vars(module)[name]
            for module in named
            if isinstance(module, types.ModuleType) and _is_own_module(module)
            for name in sorted(names & vars(module).keys())
        ]
        closed = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        yield from self.of(*named, *of_modules, *closed)

    def _of_class(self, cls: type) -> Iterator[str]:
        for each in cls.__mro__[:-1]:
            yield f"{each.__module__}.{each.__qualname__}"
            if not _is_own(each):
                continue
            for name, value in sorted(vars(each).items()):
                if name == "_declared_fields":
                    for field in value.items():
                        yield _text(field)
                        yield from self.of(type(field[1]))
                elif not name.startswith("__") or isinstance(value, types.FunctionType):
                    yield name
                    yield from self.of(value)


def _is_own(thing: Any) -> bool:
    """Whether *thing* belongs to the project, not to a library, whose version is enough."""
    module = sys.modules.get(thing.__module__)
    return module is None or _is_own_module(module)


def _is_own_module(module: types.ModuleType) -> bool:
    name = f"{module.__name__}."
    if name.startswith(_OURS) and not name.startswith(_TESTS):
        return False
    path = getattr(module, "__file__", None)
    if path is None:  # A built-in module, or one made by a test.
        return module.__name__ not in sys.builtin_module_names
    return "site-packages" not in path and not path.startswith(sys.base_prefix)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if inspect.iscode(const):
            yield from _codes(const)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (an empty cell raises)
    except ValueError:
        return False
    return True
