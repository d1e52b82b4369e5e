"""Whether a view's pages are the same for everybody, and which parameters select them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from rest_framework.mixins import ListModelMixin

from cachelayer.contrib.rest import visibility
from cachelayer.contrib.rest.visibility import View
from cachelayer.representation import library_classes, registry
from cachelayer.representation.registration import CachedModel

#: Attributes of pagination classes that name their query parameters.
_OF_PAGINATION: Final = (
    *("page_query_param", "page_size_query_param", "limit_query_param", "offset_query_param"),
    "cursor_query_param",
)


#: SQL that returns other rows later, although none was written.
_UNSTEADY: Final = re.compile(
    r"\b(?:now|random|(?:statement|clock|transaction)_timestamp)\s*\("
    r"|\bcurrent_(?:date|time|timestamp)\b",
    re.I,
)


def not_listed(view: View) -> str | None:
    """Why *view*'s pages cannot be cached or differ between users; else None."""
    written: Any = type(view)
    return _not_listed(view) if visibility.is_given_more(view) else _not_listed_as_written(written)


def page_parameters(view: View) -> Iterator[str]:
    """The query parameters that decide which page *view* shows."""
    yield from view.list_filters or ()
    for name in _OF_PAGINATION:
        if parameter := getattr(getattr(view, "paginator", None), name, None):
            yield parameter
    for backend in view.filter_backends:
        for name in ("search_param", "ordering_param"):
            if parameter := getattr(backend, name, None):
                yield parameter


@cache
def _not_listed_as_written(view: type) -> str | None:
    return _not_listed(view())


def _not_listed(view: View) -> str | None:
    if view.list_filters is None:
        return "it does not set list_filters"
    if not view.rows_are_public:
        return "it does not set rows_are_public"
    for name in ("get_queryset", "filter_queryset", "get_serializer", "paginate_queryset"):
        if not visibility.is_untouched(view, name):
            return f"it overrides {name}()"
    if why := _shows_otherwise(view) or visibility.not_cached_rows(view):
        return why
    cached = visibility.cached_of(view)
    if cached is None or registry.of_prefix(f"{cached.prefix}.page") is None:
        return "its model is not registered with pages=True"
    if why := _is_odd(view.queryset, cached):
        return why
    parts = [*view.filter_backends, *filter(None, [view.pagination_class])]
    if unknown := [part for part in parts if not _is_of_url(part, view)]:
        return f"it uses {visibility.name_of(unknown[0])}, which may depend on the user"
    return None


def _shows_otherwise(view: View) -> str | None:
    """The part that builds the list differently from REST framework, as a reason; else None."""
    below = visibility.below(type(view))
    owner = next((base for base in below if "list" in vars(base)), ListModelMixin)
    if not hasattr(view, "list_keys") and vars(owner)["list"] is not ListModelMixin.list:
        return f"{owner.__name__} overrides list()"
    serializer = visibility.serializer_of(view)
    own = getattr(getattr(serializer, "Meta", None), "list_serializer_class", None)
    if own or (serializer and not library_classes.is_of_rest_framework(serializer, "many_init")):
        return f"{visibility.name_of(serializer)} has a custom list serializer"
    return None


def _is_odd(queryset: Any, cached: CachedModel) -> str | None:
    query = queryset.query
    is_elsewhere = queryset._db not in (None, cached.database)
    if query.combinator or query.distinct_fields or is_elsewhere:
        return "its queryset cannot select the keys alone"
    with suppress(EmptyResultSet):
        if _UNSTEADY.search(str(query)):
            return "its queryset depends on the clock or on chance"
    return None


def _is_of_url(part: Any, view: View) -> bool:
    """Whether a filter or a pagination depends on the URL alone."""
    if "same_for_anonymous" in vars(part):
        return bool(part.same_for_anonymous)
    if f"{part.__module__}.{part.__qualname__}" == visibility.DJANGO_FILTER:
        return getattr(view, "filterset_class", None) is None
    # The project may set numbers and names in subclasses, but no code.
    owners = [
        base for base in part.__mro__ if not f"{base.__module__}.".startswith(visibility.PLAIN)
    ]
    return not any(callable(each) for base in owners[:-1] for each in vars(base).values())
