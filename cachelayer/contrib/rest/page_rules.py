"""What of a view decides about its pages: whether they are the same for everybody, and by what."""

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

#: The names by which paginations have those of their parameters.
_OF_PAGINATION: Final = (
    *("page_query_param", "page_size_query_param", "limit_query_param", "offset_query_param"),
    "cursor_query_param",
)


#: What gives other rows later, though nobody has written one.
_UNSTEADY: Final = re.compile(
    r"\b(?:now|random|(?:statement|clock|transaction)_timestamp)\s*\("
    r"|\bcurrent_(?:date|time|timestamp)\b",
    re.I,
)


def not_listed(view: View) -> str | None:
    """Why *view*'s pages are not the same for everybody, or never cached."""
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
        return "it does not say list_filters"
    if not view.rows_are_public:
        return "it does not say rows_are_public"
    for name in ("get_queryset", "filter_queryset", "get_serializer", "paginate_queryset"):
        if not visibility.is_untouched(view, name):
            return f"it has a {name}() of its own"
    if why := _shows_otherwise(view) or visibility.not_cached_rows(view):
        return why
    cached = visibility.cached_of(view)
    if cached is None or registry.of_prefix(f"{cached.prefix}.page") is None:
        return "its model is not registered with pages=True"
    if why := _is_odd(view.queryset, cached):
        return why
    parts = [*view.filter_backends, *filter(None, [view.pagination_class])]
    if unknown := [part for part in parts if not _is_of_url(part, view)]:
        return f"it uses {visibility.name_of(unknown[0])}, which may decide by who asks"
    return None


def _shows_otherwise(view: View) -> str | None:
    """What makes another list of the rows than REST framework does."""
    below = visibility.below(type(view))
    owner = next((base for base in below if "list" in vars(base)), ListModelMixin)
    if not hasattr(view, "list_keys") and vars(owner)["list"] is not ListModelMixin.list:
        return f"it has a list() of {owner.__name__}'s"
    serializer = visibility.serializer_of(view)
    own = getattr(getattr(serializer, "Meta", None), "list_serializer_class", None)
    if own or (serializer and not library_classes.is_of_rest_framework(serializer, "many_init")):
        return f"it shows rows by a list serializer of {visibility.name_of(serializer)}'s own"
    return None


def _is_odd(queryset: Any, cached: CachedModel) -> str | None:
    query = queryset.query
    is_elsewhere = queryset._db not in (None, cached.database)
    if query.combinator or query.distinct_fields or is_elsewhere:
        return "it has a queryset of which the keys alone cannot be asked for"
    with suppress(EmptyResultSet):
        if _UNSTEADY.search(str(query)):
            return "it has a queryset that asks the clock, or chance"
    return None


def _is_of_url(part: Any, view: View) -> bool:
    """Whether a filter or a pagination decides by the URL alone."""
    if "same_for_anonymous" in vars(part):
        return bool(part.same_for_anonymous)
    if f"{part.__module__}.{part.__qualname__}" == visibility.DJANGO_FILTER:
        return getattr(view, "filterset_class", None) is None
    # Of its own it has numbers and names, and no code.
    owners = [
        base for base in part.__mro__ if not f"{base.__module__}.".startswith(visibility.PLAIN)
    ]
    return not any(callable(each) for base in owners[:-1] for each in vars(base).values())
