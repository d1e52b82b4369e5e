"""Which parts of a REST framework view decide who sees which row, and in which form.

``CachedViewMixin`` answers as the view would without it. This module finds out how far the cache
can follow a view: ``not_public`` and ``not_cached`` each name the first part that it cannot
follow, as a reason for a check's message, or return None.
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

#: Filters that let every row through if the request has no query string.
_ASKED_BY_QUERY: Final = (filters.SearchFilter, filters.OrderingFilter)
DJANGO_FILTER: Final = "django_filters.rest_framework.backends.DjangoFilterBackend"
#: The methods that decide which rows a view shows.
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
#: Authentication classes that never refuse a read without an Authorization header.
_BY_SESSION_OR_HEADER: Final = {
    authentication.SessionAuthentication,
    authentication.BasicAuthentication,
    authentication.TokenAuthentication,
}
#: No model is registered with it.
_UNKNOWN: Final = object()
PLAIN: Final = ("rest_framework.", "django.", "cachelayer.contrib.rest.")


def not_public(view: View) -> str | None:
    """Why *view* may hide rows of its model from people who pass its permissions."""
    written: Any = type(view)
    return _not_public(view) if is_given_more(view) else _not_public_as_written(written)


def not_cached(view: View) -> str | None:
    """Why *view* never shows the bytes that the cache holds."""
    written: Any = type(view)
    return _not_cached(view) if is_given_more(view) else _not_cached_as_written(written)


def is_in_context(view: View, cached: CachedModel) -> bool:
    """Whether the request of *view* changes nothing in a row, not even the start of its URLs."""
    if serializer_context.of(cached.serializer) is Needs.NOTHING:
        return True
    if not serializer_context.is_given(cached.serializer) or _lacks_context(view, cached):
        return False
    return hyperlinks.are_of_base(view)


def model_of(view: View) -> type[models.Model] | None:
    """The model whose rows *view* shows, or None if only a request can tell."""
    found: type[models.Model] | None = getattr(getattr(view, "queryset", None), "model", None)
    return found


def cached_of(view: View) -> CachedModel | None:
    """The registration of *view*'s model and serializer, or None if only a request can tell."""
    if (model := model_of(view)) is None:
        return None
    serializer = serializer_of(view)
    return registry.find(model, None if serializer is _UNKNOWN else serializer)


def shown_by(view: View, model: type[models.Model]) -> CachedModel | None:
    """During a request: the registration of *model* whose bytes *view* shows."""
    return registry.find(model, serializer_of(view))


def serializer_of(view: View) -> Any:
    """The serializer that *view* shows rows with; None for the model's first registered one."""
    if is_untouched(view, "get_serializer_class"):
        return getattr(view, "serializer_class", None)
    try:
        return view.get_serializer_class()
    except Exception:  # It may need a request. If not, the view meets the error itself.
        return _UNKNOWN


def is_read_by_key(view: View, cached: CachedModel) -> bool:
    """Whether the URL holds the primary key itself."""
    key: Any = cached.model._meta.pk
    return view.lookup_field in ("pk", key.name, key.attname)


def read_by_column(view: View, cached: CachedModel) -> CachedModel | None:
    """The registration of *cached* by the URL's column; None if ``read_by`` does not name it."""
    if is_read_by_key(view, cached):
        return cached
    return registry.find(cached.model, cached.serializer, view.lookup_field)


def has_filters(view: View) -> bool:
    """Whether a query string may hide rows."""
    return bool(view.filter_backends)


def asks_for_object(view: View) -> bool:
    """Whether *view* decides by the row itself, not only by the request."""
    if not all(is_untouched(view, name) for name in ("get_object", "check_object_permissions")):
        return True
    return any(_is_by_object(type(permission)) for permission in view.get_permissions())


def has_only_session(view: View, request: Any) -> bool:
    """Whether *request* carries a session or no credentials, so that it cannot be refused."""
    parts = set(map(type, request.authenticators))
    return parts <= _BY_SESSION_OR_HEADER and "HTTP_AUTHORIZATION" not in request.META


def is_untouched(view: View, name: str) -> bool:
    """Whether *view* takes *name* from REST framework or from ``CachedViewMixin``."""
    if name in vars(view):
        return False
    owner = next((base for base in type(view).__mro__ if name in vars(base)), None)
    return owner is None or f"{owner.__module__}.".startswith(PLAIN)


class Layer:
    """The last base of our mixins. The bases after it are those that a view has without them."""


def below(view: type) -> tuple[type, ...]:
    """The bases of *view* after our mixins."""
    return view.__mro__[view.__mro__.index(Layer) + 1 :]


def plain_retrieve(view: View) -> Any:
    """The ``retrieve`` that *view* would have without us."""
    bases = below(type(view))
    owner = next((base for base in bases if "retrieve" in vars(base)), RetrieveModelMixin)
    return vars(owner)["retrieve"]


def is_of_every_row(queryset: Any, cached: CachedModel) -> bool:
    """Whether *queryset* selects all rows of the model, in the database that the cache follows."""
    query = queryset.query
    narrow = query.where or query.is_sliced or query.combinator or query.is_empty()
    joined = query.extra_tables or query.distinct or query.group_by is not None
    return not narrow and not joined and queryset._db in (None, cached.database)


def is_plain(found: Any, cached: CachedModel) -> bool:
    """Whether *found*, reduced to the key, still selects the same row of *cached*."""
    queryset: Any = found
    query: Any = getattr(found, "query", None)
    return (
        isinstance(found, models.QuerySet)
        and queryset._iterable_class is ModelIterable
        # With the key selected, DISTINCT keeps rows that it would merge without the key.
        and not (query.distinct and (query.distinct_fields or query.annotations or query.extra))
        and not query.combinator
        and queryset.model._meta.concrete_model is cached.model
        and queryset._db in (None, cached.database)
    )


def is_given_more(view: View) -> bool:
    """Whether ``as_view`` has overridden attributes of the view's class."""
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
            return f"its {name}() decides who sees which row"
    cached = cached_of(view)
    if cached is None:
        return "it has no queryset of a registered model"
    if not is_of_every_row(view.queryset, cached):
        return "its queryset leaves rows out"
    if read_by_column(view, cached) is None:
        return (
            f"it looks rows up by {view.lookup_field}, which read_by of the registration of "
            f"{cached.model._meta.label} does not name"
        )
    for backend in view.filter_backends:
        if not _lets_through(backend, view):
            return f"{name_of(backend)} filters its rows"
    if is_untouched(view, "get_permissions"):
        for permission in view.permission_classes:
            if _is_by_object(permission):
                return f"{name_of(permission)} decides about each row"
    return None


def _not_cached(view: View) -> str | None:
    retrieve = plain_retrieve(view)
    if retrieve is not RetrieveModelMixin.retrieve:
        return f"it answers with {retrieve.__qualname__}()"
    return not_cached_rows(view)


def not_cached_rows(view: View) -> str | None:
    """Like ``not_cached``, but ignores ``retrieve``."""
    if not is_untouched(view, "get_serializer"):
        return "it overrides get_serializer()"
    if not any(map(_renders_rows, view.renderer_classes)):
        return "neither JSONRenderer nor another renderer for row bytes is among its renderers"
    if (model := model_of(view)) is None:
        return None  # Only get_queryset() knows, during a request.
    if (first := registry.find(model)) is None:
        return f"{model._meta.label} is not registered"
    if not is_untouched(view, "get_serializer_class"):
        return _lacks_context(view, first)
    if (cached := cached_of(view)) is None:
        shown, registered = name_of(view.serializer_class), name_of(first.serializer)
        return f"{model._meta.label} is registered with {registered}, not with {shown}"
    return _lacks_context(view, cached)


def _lacks_context(view: View, cached: CachedModel) -> str | None:
    """The part of the request that *view*'s rows need and cached rows are rendered without."""
    needs, name = serializer_context.of(cached.serializer), name_of(cached.serializer)
    if needs is Needs.REQUEST:
        return f"what {name} shows depends on the request"
    if needs is Needs.BASE_URL:
        if not is_untouched(view, "get_serializer_context"):
            return f"{name} shows URLs, and the view overrides get_serializer_context()"
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
    # A combined permission (A | B) is one of REST framework's classes, not a BasePermission.
    decides = getattr(permission, "has_object_permission", None)
    return decides is not BasePermission.has_object_permission


def name_of(part: Any) -> str:
    """The name of *part* for people."""
    return getattr(part, "__name__", type(part).__name__)
