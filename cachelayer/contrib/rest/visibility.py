"""What of a REST framework view decides who sees which row, and in which form.

``CachedViewMixin`` answers as the view would without it. Here is read off the view how far
the cache can follow it: ``not_public`` and ``not_cached`` each name the first part of it
that the cache cannot, as a sentence for a check, and None where there is none.
"""

from functools import cache
from typing import Any, Final

from django.db import models
from django.db.models.query import ModelIterable
from rest_framework import authentication, filters
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer

from cachelayer.representation import hyperlinks, registry, serializer_context
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.serializer_context import Needs

View = Any  # A GenericAPIView with CachedViewMixin.

#: Filters that let every row through where the request has no query string.
_ASKED_BY_QUERY: Final = (filters.SearchFilter, filters.OrderingFilter)
DJANGO_FILTER: Final = "django_filters.rest_framework.backends.DjangoFilterBackend"
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
        "rows_are_public",
        "list_filters",
        "pagination_class",
        "filterset_class",
    }
)
#: Authentication that refuses no read without an Authorization header.
_BY_SESSION_OR_HEADER: Final = {
    authentication.SessionAuthentication,
    authentication.BasicAuthentication,
    authentication.TokenAuthentication,
}
#: No model is registered with it.
_UNKNOWN: Final = object()
PLAIN: Final = ("rest_framework.", "django.", "cachelayer.contrib.rest.")


def not_public(view: View) -> str | None:
    """Why *view* cannot show every row of its model to everybody whom it lets in."""
    written: Any = type(view)
    return _not_public(view) if is_given_more(view) else _not_public_as_written(written)


def not_cached(view: View) -> str | None:
    """Why *view*'s rows never are the bytes that the cache has."""
    written: Any = type(view)
    return _not_cached(view) if is_given_more(view) else _not_cached_as_written(written)


def is_in_context(view: View, cached: CachedModel) -> bool:
    """Whether the request of *view* changes nothing in a row, not even what its URLs begin with."""
    if serializer_context.of(cached.serializer) is Needs.NOTHING:
        return True
    if not serializer_context.is_given(cached.serializer) or _lacks_context(view, cached):
        return False
    return hyperlinks.are_of_base(view)


def model_of(view: View) -> type[models.Model] | None:
    """The model whose rows *view* shows, as far as that is known without a request."""
    found: type[models.Model] | None = getattr(getattr(view, "queryset", None), "model", None)
    return found


def cached_of(view: View) -> CachedModel | None:
    """The registration of *view*'s model with its serializer, as far as that is known."""
    if (model := model_of(view)) is None:
        return None
    serializer = serializer_of(view)
    return registry.find(model, None if serializer is _UNKNOWN else serializer)


def shown_by(view: View, model: type[models.Model]) -> CachedModel | None:
    """At a request: the registration of *model* whose bytes *view* shows."""
    return registry.find(model, serializer_of(view))


def serializer_of(view: View) -> Any:
    """The one that *view* shows a row by; None: the first that the model is registered with."""
    if is_untouched(view, "get_serializer_class"):
        return getattr(view, "serializer_class", None)
    try:
        return view.get_serializer_class()
    except Exception:  # It may need a request; the view itself runs into it, in its own time.
        return _UNKNOWN


def is_read_by_key(view: View, cached: CachedModel) -> bool:
    """Whether the URL has the primary key itself."""
    key: Any = cached.model._meta.pk
    return view.lookup_field in ("pk", key.name, key.attname)


def read_by_column(view: View, cached: CachedModel) -> CachedModel | None:
    """*cached*, by the column that the URL has a value of; None where that is not registered."""
    if is_read_by_key(view, cached):
        return cached
    return registry.find(cached.model, cached.serializer, view.lookup_field)


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
    return owner is None or f"{owner.__module__}.".startswith(PLAIN)


class Layer:
    """The last base of our mixins: what a view has below it, it would have without them."""


def below(view: type) -> tuple[type, ...]:
    """The bases of *view* below our mixins."""
    return view.__mro__[view.__mro__.index(Layer) + 1 :]


def plain_retrieve(view: View) -> Any:
    """The ``retrieve`` that *view* would have without us."""
    bases = below(type(view))
    owner = next((base for base in bases if "retrieve" in vars(base)), RetrieveModelMixin)
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


def is_given_more(view: View) -> bool:
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
    if read_by_column(view, cached) is None:
        return (
            f"looks them up by {view.lookup_field}, which is not among read_by of the "
            f"registration of {cached.model._meta.label}"
        )
    for backend in view.filter_backends:
        if not _lets_through(backend, view):
            return f"filters them by {name_of(backend)}"
    if is_untouched(view, "get_permissions"):
        for permission in view.permission_classes:
            if _is_by_object(permission):
                return f"asks {name_of(permission)} about each"
    return None


def _not_cached(view: View) -> str | None:
    retrieve = plain_retrieve(view)
    if retrieve is not RetrieveModelMixin.retrieve:
        return f"{retrieve.__qualname__}() answers"
    return not_cached_rows(view)


def not_cached_rows(view: View) -> str | None:
    """As ``not_cached``, whatever its ``retrieve`` does."""
    if not is_untouched(view, "get_serializer"):
        return "it has a get_serializer() of its own"
    if not any(map(_renders_rows, view.renderer_classes)):
        return "it has neither JSONRenderer nor another renderer that takes rows as bytes"
    if (model := model_of(view)) is None:
        return None  # Known at a request: get_queryset() says.
    if (first := registry.find(model)) is None:
        return f"{model._meta.label} is not registered"
    if not is_untouched(view, "get_serializer_class"):
        return _lacks_context(view, first)
    if (cached := cached_of(view)) is None:
        shown, registered = name_of(view.serializer_class), name_of(first.serializer)
        return f"{model._meta.label} is registered with {registered}, and not with {shown}"
    return _lacks_context(view, cached)


def _lacks_context(view: View, cached: CachedModel) -> str | None:
    """What the cached rows of *view*, as it is written, are rendered without."""
    needs, name = serializer_context.of(cached.serializer), name_of(cached.serializer)
    if needs is Needs.REQUEST:
        return f"what {name} shows depends on the request"
    if needs is Needs.BASE_URL:
        if not is_untouched(view, "get_serializer_context"):
            return f"{name} shows URLs, and it has a get_serializer_context() of its own"
        if not hyperlinks.keeps_version_out(view.versioning_class):
            return f"{name} shows URLs, and {name_of(view.versioning_class)} changes them"
    return None


def _renders_rows(renderer: Any) -> bool:
    return renderer is JSONRenderer or getattr(renderer, "renders_rows", False)


def _lets_through(backend: Any, view: View) -> bool:
    if backend in _ASKED_BY_QUERY:
        return True
    path = f"{backend.__module__}.{backend.__qualname__}"
    return path == DJANGO_FILTER and getattr(view, "filterset_class", None) is None


def _is_by_object(permission: Any) -> bool:
    # Of a combined one (A | B) REST framework's own classes decide, which are no BasePermission.
    decides = getattr(permission, "has_object_permission", None)
    return decides is not BasePermission.has_object_permission


def name_of(part: Any) -> str:
    """For people."""
    return getattr(part, "__name__", type(part).__name__)
