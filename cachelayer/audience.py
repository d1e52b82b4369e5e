"""What of a REST framework view decides who sees which row, and in which form.

``CachedViewMixin`` answers as the view would without it. Here is read off the view how far
the cache can follow it: ``not_public`` and ``not_cached`` each name the first part of it
that the cache cannot, as a sentence for a check, and None where there is none.
"""

from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType
from typing import Any, Final

from django.db import models
from django.db.models.query import ModelIterable
from rest_framework import authentication, filters, relations, serializers
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer

from cachelayer import registry, rendering
from cachelayer.registry import CachedModel

View = Any  # A GenericAPIView with CachedViewMixin.

#: Filters that let every row through where the request has no query string.
_ASKED_BY_QUERY: Final = (filters.SearchFilter, filters.OrderingFilter)
_DJANGO_FILTER: Final = "django_filters.rest_framework.backends.DjangoFilterBackend"
#: What decides which rows a view shows.
_SELECTING: Final = ("get_queryset", "filter_queryset", "get_object", "check_object_permissions")
#: Attributes that ``as_view`` may set on one view only.
_GIVEN: Final = frozenset(
    {*_SELECTING, "queryset", "serializer_class", "get_serializer_class", "get_serializer"}
    | {
        "filter_backends",
        "permission_classes",
        "renderer_classes",
        "lookup_field",
        "filterset_class",
    }
)
#: Authentication that refuses no read without an Authorization header.
_BY_SESSION_OR_HEADER: Final = {
    authentication.SessionAuthentication,
    authentication.BasicAuthentication,
    authentication.TokenAuthentication,
}
#: Fields whose representation has the request's host in it.
_WITH_HOST: Final = (
    relations.HyperlinkedRelatedField,  # HyperlinkedIdentityField is one.
    serializers.FileField,
)
#: Methods of a serializer that only writes call.
_WRITING: Final = ("create", "update", "save", "is_valid", "run_validation", "to_internal_value")
_CONTEXT: Final = frozenset({"context", "_context"})
_PLAIN: Final = ("rest_framework.", "django.", "cachelayer.rest.")


def not_public(view: View) -> str | None:
    """Why *view* cannot show every row of its model to everybody whom it lets in."""
    written: Any = type(view)
    return _not_public(view) if _is_given_more(view) else _not_public_as_written(written)


def not_cached(view: View) -> str | None:
    """Why *view*'s rows never are the bytes that the cache has."""
    written: Any = type(view)
    return _not_cached(view) if _is_given_more(view) else _not_cached_as_written(written)


def model_of(view: View) -> type[models.Model] | None:
    """The model whose rows *view* shows, as far as that is known without a request."""
    found: type[models.Model] | None = getattr(getattr(view, "queryset", None), "model", None)
    return found


def cached_of(view: View) -> CachedModel | None:
    model = model_of(view)
    return registry.find(model) if model else None


def is_looked_up_by_key(view: View, cached: CachedModel) -> bool:
    """Whether the URL has the primary key itself."""
    key: Any = cached.model._meta.pk
    return view.lookup_field in ("pk", key.name, key.attname)


def has_filters(view: View) -> bool:
    """Whether a query string may hide rows."""
    return bool(view.filter_backends)


def asks_for_object(view: View) -> bool:
    """Whether *view* looks at the row itself, and not only at the request."""
    if not all(is_untouched(view, name) for name in ("get_object", "check_object_permissions")):
        return True
    return any(_is_by_object(type(permission)) for permission in view.get_permissions())


def has_only_session(view: View, request: Any) -> bool:
    """Whether *request* can be refused for no credentials: it has a session's, or none."""
    parts = set(map(type, request.authenticators))
    return parts <= _BY_SESSION_OR_HEADER and "HTTP_AUTHORIZATION" not in request.META


def is_untouched(view: View, name: str) -> bool:
    """Whether *view* takes *name* from REST framework or from ``CachedViewMixin``."""
    if name in vars(view):
        return False
    owner = next((base for base in type(view).__mro__ if name in vars(base)), None)
    return owner is None or f"{owner.__module__}.".startswith(_PLAIN)


def plain_retrieve(view: View, mixin: type) -> Any:
    """The ``retrieve`` that *view* would have without *mixin*."""
    mro = type(view).__mro__
    below = mro[mro.index(mixin) + 1 :]
    owner = next((base for base in below if "retrieve" in vars(base)), RetrieveModelMixin)
    return vars(owner)["retrieve"]


def is_of_every_row(queryset: Any, cached: CachedModel) -> bool:
    """Whether *queryset* has all rows of the model, from the database that the cache follows."""
    query = queryset.query
    narrow = query.where or query.is_sliced or query.combinator or query.is_empty()
    joined = query.extra_tables or query.distinct or query.group_by is not None
    return not narrow and not joined and queryset._db in (None, cached.database)


def is_plain(found: Any, cached: CachedModel) -> bool:
    """Whether *found*, asked for a key only, names the row of *cached* that it would give."""
    queryset: Any = found
    query: Any = getattr(found, "query", None)
    return (
        isinstance(found, models.QuerySet)
        and queryset._iterable_class is ModelIterable
        # Rows that are the same but for their key are not: DISTINCT sees the key in both.
        and not (query.distinct and (query.distinct_fields or query.annotations or query.extra))
        and not query.combinator
        and queryset.model._meta.concrete_model is cached.model
        and queryset._db in (None, cached.database)
    )


def renders_as_registered(view: View, cached: CachedModel) -> bool:
    """Whether *view* shows a row by the serializer that the model is registered with."""
    if not is_untouched(view, "get_serializer_class"):
        try:
            return bool(view.get_serializer_class() is cached.serializer)
        except Exception:
            return False  # The view itself runs into it, in its own time.
    # Without a serializer of its own a view shows the row as it is registered.
    return getattr(view, "serializer_class", None) in (None, cached.serializer)


@cache
def needs_context(serializer: Any) -> bool:
    """Whether what *serializer* shows may depend on the request."""
    if not isinstance(serializer, type) or not issubclass(serializer, serializers.BaseSerializer):
        return False  # A function of the row.
    try:
        made = serializer()
        return any(map(_asks_context, parts(made)))
    except Exception:
        return True  # It cannot be made without one.


def _is_given_more(view: View) -> bool:
    """Whether ``as_view`` has been given what its class has otherwise."""
    return not _GIVEN.isdisjoint(vars(view))


@cache
def _not_public_as_written(view: type) -> str | None:
    return _not_public(view())


@cache
def _not_cached_as_written(view: type) -> str | None:
    return _not_cached(view())


def _not_public(view: View) -> str | None:
    for name in _SELECTING:
        if not is_untouched(view, name):
            return f"decides by {name}() who sees which"
    cached = cached_of(view)
    if cached is None:
        return "has no queryset of a registered model"
    if not is_of_every_row(view.queryset, cached):
        return "has a queryset that leaves rows out"
    if not is_looked_up_by_key(view, cached):
        return f"looks them up by {view.lookup_field}, and not by the primary key"
    for backend in view.filter_backends:
        if not _lets_through(backend, view):
            return f"filters them by {_name(backend)}"
    if is_untouched(view, "get_permissions"):
        for permission in view.permission_classes:
            if _is_by_object(permission):
                return f"asks {_name(permission)} about each"
    return None


def _not_cached(view: View) -> str | None:
    from cachelayer.rest import CachedViewMixin

    retrieve = plain_retrieve(view, CachedViewMixin)
    if retrieve is not RetrieveModelMixin.retrieve:
        return f"{retrieve.__qualname__}() answers"
    if not is_untouched(view, "get_serializer"):
        return "it has a get_serializer() of its own"
    if not any(map(_renders_rows, view.renderer_classes)):
        return "it has neither JSONRenderer nor another renderer that takes rows as bytes"
    if (cached := cached_of(view)) is None:
        if model_of(view) is None:
            return None  # Known at a request: get_queryset() says.
        return f"{model_of(view)._meta.label} is not registered"  # type: ignore[union-attr]
    if needs_context(cached.serializer):
        return f"what {_name(cached.serializer)} shows depends on the request"
    if is_untouched(view, "get_serializer_class") and not renders_as_registered(view, cached):
        shown, registered = _name(view.serializer_class), _name(cached.serializer)
        return f"{cached.model._meta.label} is registered with {registered}, and not with {shown}"
    return None


def _renders_rows(renderer: Any) -> bool:
    return renderer is JSONRenderer or getattr(renderer, "renders_rows", False)


def _lets_through(backend: Any, view: View) -> bool:
    if backend in _ASKED_BY_QUERY:
        return True
    path = f"{backend.__module__}.{backend.__qualname__}"
    return path == _DJANGO_FILTER and getattr(view, "filterset_class", None) is None


def _is_by_object(permission: Any) -> bool:
    # Of a combined one (A | B) REST framework's own classes decide, which are no BasePermission.
    decides = getattr(permission, "has_object_permission", None)
    return decides is not BasePermission.has_object_permission


def parts(field: Any) -> Iterator[Any]:
    """A serializer's instance, its readable fields, and theirs."""
    yield field
    if isinstance(field, serializers.Serializer):
        for shown in field._readable_fields:
            yield from parts(shown)
    for name in ("child", "child_relation"):
        if (each := getattr(field, name, None)) is not None:
            yield from parts(each)


def _asks_context(part: Any) -> bool:
    if isinstance(part, serializers.FileField):
        return bool(getattr(part, "use_url", True))
    if isinstance(part, _WITH_HOST):
        return True
    return any(_CONTEXT & _names(function.__code__) for function in own_functions(part))


def reads_context(serializer: Any) -> bool:
    """Whether code of the project's own, in a serializer class, asks for the request."""
    if not isinstance(serializer, type) or not issubclass(serializer, serializers.BaseSerializer):
        return False
    try:
        found = list(parts(serializer()))
    except Exception:
        return True  # It cannot be made without one.
    return any(
        _CONTEXT & _names(function.__code__) for part in found for function in own_functions(part)
    )


def own_functions(part: Any) -> Iterator[FunctionType]:
    """The project's functions, of a serializer or a field, that a read may call."""
    return (
        function
        for base in type(part).__mro__
        if not rendering.is_class_of_rest_framework(base)
        for name, value in vars(base).items()
        if name not in _WRITING and not name.startswith("validate")
        for function in _functions(value)
    )


def _functions(value: Any) -> Iterator[FunctionType]:
    found = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "func"))]
    return (each for each in found if isinstance(each, FunctionType))


def _names(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    texts = {each for each in code.co_consts if isinstance(each, str)}
    return texts.union(code.co_names, *map(_names, inner))


def _name(part: Any) -> str:
    return getattr(part, "__name__", type(part).__name__)
