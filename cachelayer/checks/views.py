"""System checks of views and what they show: it holds what is said, and they can be cached."""

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
    """Every view with ``CachedViewMixin`` that the URLconf leads to."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    found = {
        message.msg: message for view, actions in _views() for message in _problems(view, actions)
    }
    return list(found.values())


@register()
def check_urls(**kwargs: Any) -> list[CheckMessage]:
    """Serializers that show URLs know what those begin with."""
    if configuration.check_settings():
        return []  # Those come first.
    return [
        Error(
            f"{cached.serializer.__name__} shows URLs, which begin with the host of a request; "
            f"a cached row of {cached.model._meta.label} has no request.",
            hint="Set CACHELAYER['BASE_URL'] to what the URLs begin with, such as "
            "'https://example.org', or leave them out of the serializer.",
            obj=cached.model,
            id="cachelayer.E032",
        )
        for cached in registry.all_cached()
        if serializer_context.of(cached.serializer) is Needs.BASE_URL and not conf.get().BASE_URL
    ]


@register()
def check_serializers(**kwargs: Any) -> list[CheckMessage]:
    """Registered serializers: a cached row is the same for everybody."""
    return [
        Warning(
            f"{cached.serializer.__name__} reads its context: a row is rendered for the cache "
            "without a request, so it is not cached, or not as the view shows it.",
            hint="Show what depends on the request in a serializer of its own, and register one "
            "that needs none.",
            obj=cached.model,
            id="cachelayer.W032",
        )
        for cached in registry.all_cached()
        if serializer_context.of(cached.serializer) is Needs.REQUEST
    ]


def _views() -> Iterator[tuple[Any, set[str]]]:
    """Each, and what of ``retrieve`` and ``list`` it answers."""
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
            f"{name} says list_filters, and its pages are never cached: {why}.",
            hint="Mend that, or remove list_filters.",
            obj=type(view),
            id="cachelayer.W033",
        )
    if "retrieve" not in actions:
        return
    if why := visibility.not_cached(view):
        yield Warning(
            f"{name} never answers from the cache: {why}.",
            hint="Its answers are right, and are made as without CachedViewMixin. Register the "
            "model with the serializer that the view shows, or take the mixin away.",
            obj=type(view),
            id="cachelayer.W031",
        )
    elif view.rows_are_public and (why := visibility.not_public(view)):
        yield Error(
            f"{name} says rows_are_public, and {why}. Until one of them goes, Django is asked "
            "who may see a row, at every read.",
            hint="Remove rows_are_public = True, or what leaves rows out.",
            obj=type(view),
            id="cachelayer.E031",
        )
