"""System checks of views: what they declare is true, and the cache can hold what they show."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.urls import get_resolver

from cachelayer import conf
from cachelayer.checks import configuration
from cachelayer.contrib.rest import CachedViewMixin, page_rules, visibility
from cachelayer.representation import registry, serializer_context
from cachelayer.representation.serializer_context import Needs


@register(Tags.urls)
def check_views(**kwargs: Any) -> list[CheckMessage]:
    """Every view with ``CachedViewMixin`` in the URLconf."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    found = {
        message.msg: message for view, actions in _views() for message in _problems(view, actions)
    }
    return list(found.values())


@register()
def check_urls(**kwargs: Any) -> list[CheckMessage]:
    """``BASE_URL`` is set if a serializer shows URLs."""
    if configuration.check_settings():
        return []  # Wrong settings come first.
    return [
        Error(
            f"{cached.serializer.__name__} shows URLs, which begin with the host of a request, but "
            f"a cached row of {cached.model._meta.label} has no request.",
            hint="Set CACHELAYER['BASE_URL'] to the start of the URLs, such as "
            "'https://example.org', or leave URLs out of the serializer.",
            obj=cached.model,
            id="cachelayer.E032",
        )
        for cached in registry.all_cached()
        if serializer_context.of(cached.serializer) is Needs.BASE_URL and not conf.get().BASE_URL
    ]


@register()
def check_serializers(**kwargs: Any) -> list[CheckMessage]:
    """Registered serializers show the same row to everybody."""
    return [
        Warning(
            f"{cached.serializer.__name__} reads its context. The cache renders rows without a "
            "request, so they are not cached, or differ from what the view shows.",
            hint="Show what depends on the request in a separate serializer, and register a "
            "serializer that needs no request.",
            obj=cached.model,
            id="cachelayer.W032",
        )
        for cached in registry.all_cached()
        if serializer_context.of(cached.serializer) is Needs.REQUEST
    ]


def _views() -> Iterator[tuple[Any, set[str]]]:
    """Each view, and which of ``retrieve`` and ``list`` it answers."""
    for callback in _callbacks(get_resolver()):
        view = getattr(callback, "cls", None)
        if isinstance(view, type) and issubclass(view, CachedViewMixin):
            actions = getattr(callback, "actions", None) or {"get": "retrieve", "": "list"}
            if asked := {"retrieve", "list"} & {*actions.values()}:
                yield view(**getattr(callback, "initkwargs", {})), asked


def _callbacks(resolver: Any) -> Iterator[Any]:
    for entry in resolver.url_patterns:
        if hasattr(entry, "url_patterns"):
            yield from _callbacks(entry)
        else:
            yield entry.callback


def _problems(view: Any, actions: set[str]) -> Iterator[CheckMessage]:
    name = type(view).__qualname__
    is_listed = "list" in actions and view.list_filters is not None
    if is_listed and (why := page_rules.not_listed(view)):
        yield Warning(
            f"{name} sets list_filters, but its pages are never cached: {why}.",
            hint="Change that, or remove list_filters.",
            obj=type(view),
            id="cachelayer.W033",
        )
    if "retrieve" not in actions:
        return
    if why := visibility.not_cached(view):
        yield Warning(
            f"{name} never answers from the cache: {why}.",
            hint="Its answers are right, but no faster than without CachedViewMixin. Register the "
            "model with the view's serializer, or remove the mixin.",
            obj=type(view),
            id="cachelayer.W031",
        )
    elif view.rows_are_public and (why := visibility.not_public(view)):
        yield Error(
            f"{name} sets rows_are_public, but {why}. Until this is resolved, every read asks "
            "Django who may see the row.",
            hint="Remove rows_are_public = True, or the part that hides rows.",
            obj=type(view),
            id="cachelayer.E031",
        )
