"""Finds the URLs of rows that anybody may read, in the URLconf and its views.

A hit may be answered without Django only if Django would give the same answer to everybody. So
the view must set ``rows_are_public``, and nothing in it may contradict that (``visibility.py``).
Also, every part that Django would ask must treat everybody alike: the middlewares, and the view's
permissions, throttles, authenticators and negotiation. A part that is not known here must set
``same_for_anonymous = True`` in its own class. This means that for a read without credentials it
decides by ``Host``, ``Accept``, scheme and the view alone. The decision itself need not be
declared: ``wsgi.py`` asks Django once.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import LocalePrefixPattern, RoutePattern
from django.utils.module_loading import import_string

from cachelayer.contrib.rest import CachedViewMixin, page_rules, pages, visibility
from cachelayer.contrib.rest.pages import Pages
from cachelayer.representation import registry, serializer_context, tenancy
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.serializer_context import Needs

#: Parts of Django and other packages that treat all reads without credentials alike.
_SAME: Final = frozenset(
    {
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        # These record requests. cachelayer records a hit in its own metrics and spans.
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
        "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware",
        "rest_framework.permissions.AllowAny",
        "rest_framework.permissions.IsAuthenticatedOrReadOnly",
        "rest_framework.permissions.DjangoModelPermissionsOrAnonReadOnly",
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.negotiation.DefaultContentNegotiation",
        "rest_framework.versioning.AcceptHeaderVersioning",
        "rest_framework.versioning.HostNameVersioning",
        "rest_framework.versioning.NamespaceVersioning",
        "rest_framework.versioning.QueryParameterVersioning",
        "rest_framework.versioning.URLPathVersioning",
    }
)
#: The methods of a view that decide about a read. A project's override may do anything.
_READING: Final = (
    *("as_view", "dispatch", "setup", "initialize_request", "initial", "finalize_response"),
    *("get_authenticators", "perform_authentication", "get_permissions", "check_permissions"),
    *("get_throttles", "check_throttles", "determine_version", "get_content_negotiator"),
    *("perform_content_negotiation", "get_renderers", "get_renderer_context"),
    *("get_format_suffix", "answer_read", "row_response", "get_serializer_class"),
    *("_cached", "_model"),
)
_READING_ROWS: Final = ("retrieve", "_is_public", "_read_public", "_lookup")
_READING_PAGES: Final = ("list", "answer_list", "_read_page", "_is_page")

_Pattern = Any  # RoutePattern or RegexPattern from django.urls.resolvers.


@dataclass(frozen=True, slots=True)
class Route:
    """The URL pattern of one cached model's rows, or of pages of them."""

    cached: CachedModel | Pages
    #: The start of each path; the parts of the pattern, nested as in Django; and the name of the
    #: argument that holds the row's key.
    literal: str
    patterns: tuple[_Pattern, ...]
    kwarg: str
    #: For pages, the hash of the view's code.
    code: str
    #: Routes that come before this one and could match the same path.
    before: list[tuple[_Pattern, ...]] = field(default_factory=list)

    def pk(self, path: str) -> Any:
        """The primary key that *path* (without its first slash) names; else None."""
        kwargs = self._match(path)
        if kwargs is None or kwargs.keys() != {self.kwarg}:
            return None
        try:
            return self.cached.to_python(kwargs[self.kwarg])
        except ValidationError:
            return None

    def is_of_page(self, path: str) -> bool:
        """Whether *path* (without its first slash) leads to a page."""
        return isinstance(self.cached, Pages) and self._match(path) is not None

    def _match(self, path: str) -> dict[str, Any] | None:
        kwargs = _match(self.patterns, path)
        if kwargs is None or any(_match(each, path) is not None for each in self.before):
            return None
        return kwargs


def find() -> list[Route]:
    """The routes whose hits do not need Django; none if a middleware could matter."""
    if unknown_middlewares() or (settings.SECURE_SSL_REDIRECT and settings.SECURE_REDIRECT_EXEMPT):
        return []
    if any(map(tenancy.may_be, registry.databases())):
        return []  # A middleware decides which tenant's rows to show.
    routes: list[Route] = []
    before: list[tuple[str, bool, tuple[_Pattern, ...]]] = []
    for patterns, callback in _leaves(get_resolver()):
        literal, whole = _literal(patterns)
        if callback is not None and (found := _public_of(callback)):
            shadows = [
                earlier
                for text, is_whole, earlier in before
                if text.startswith(literal) or (not is_whole and literal.startswith(text))
            ]
            routes.append(Route(found[0], literal, patterns, *found[1:], shadows))
        before.append((literal, whole, patterns))
    return routes


def unknown_middlewares() -> list[str]:
    """The ``MIDDLEWARE`` that may treat two reads without credentials differently."""
    return [path for path in settings.MIDDLEWARE if not _is_same(import_string(path))]


def _public_of(callback: Any) -> tuple[CachedModel | Pages, str, str] | None:
    """The registration whose rows or pages *callback* shows, if anybody may read them.

    Also the URL's name for the argument that looks up a row, or the hash of the view's code.
    """
    view = getattr(callback, "cls", None)
    # ViewSet.as_view and csrf_exempt each add a wrapper. A decorator would add one more.
    if view is None or getattr(callback.__wrapped__, "__wrapped__", None) is not view.dispatch:
        return None
    action = callback.actions.get("get")
    if not issubclass(view, CachedViewMixin) or action not in ("retrieve", "list"):
        return None
    seen = view(**callback.initkwargs)
    shown = visibility.cached_of(seen)
    if shown is None or serializer_context.of(shown.serializer) is not Needs.NOTHING:
        return None  # The URLs in a row belong to one host.
    names = (*_READING, *(_READING_PAGES if action == "list" else _READING_ROWS))
    if not all(_is_vouched(seen, name) for name in names) or not all(map(_is_same, _parts(seen))):
        return None
    if action == "list":
        found = pages.find(shown)
        return (
            (found, "", pages.code_of(seen)) if found and not page_rules.not_listed(seen) else None
        )
    if not seen.rows_are_public or visibility.not_public(seen) or visibility.not_cached(seen):
        return None
    cached = visibility.read_by_column(seen, shown)
    return (cached, seen.lookup_url_kwarg or seen.lookup_field, "") if cached else None


def _parts(view: Any) -> list[Any]:
    return [
        *(view.permission_classes or []),
        *(view.throttle_classes or []),
        *(view.authentication_classes or []),
        view.content_negotiation_class,
        *filter(None, [view.versioning_class]),
    ]


def _is_vouched(view: Any, name: str) -> bool:
    """Whether the part *name* of the view treats all reads without credentials alike."""
    is_same = getattr(getattr(view, name, None), "same_for_anonymous", False)
    return is_same is True or visibility.is_untouched(view, name)


def _is_same(part: Any) -> bool:
    # Not inherited, because a subclass may decide by anything.
    if "same_for_anonymous" in getattr(part, "__dict__", {}):
        return bool(part.same_for_anonymous)
    name = f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', '')}"
    return name in _SAME


def _leaves(
    resolver: URLResolver, above: tuple[_Pattern, ...] = ()
) -> Iterator[tuple[tuple[_Pattern, ...], Any]]:
    """Every URL pattern in the order in which Django tries it, with its view.

    The view is None if the pattern adds arguments, or has a language in its path.
    """
    for entry in resolver.url_patterns:
        patterns = (*above, entry.pattern)
        if isinstance(entry, URLResolver):
            extra = entry.default_kwargs or isinstance(entry.pattern, LocalePrefixPattern)
            for below, callback in _leaves(entry, patterns):
                yield below, None if extra else callback
        elif isinstance(entry, URLPattern):
            yield patterns, None if entry.default_args else entry.callback


def _match(patterns: Sequence[_Pattern], path: str) -> dict[str, Any] | None:
    """The arguments that Django finds in *path*, part by part; None if it does not match."""
    kwargs: dict[str, Any] = {}
    for pattern in patterns:
        matched = pattern.match(path)
        if matched is None:
            return None
        path, args, named = matched
        if args:
            return {"args": args}
        kwargs |= named
    return kwargs


def _literal(patterns: Sequence[_Pattern]) -> tuple[str, bool]:
    """The fixed start of every path that *patterns* match, and whether it is the whole path."""
    text = ""
    for pattern in patterns:
        if isinstance(pattern, RoutePattern):
            fixed, variable, _ = str(pattern).partition("<")
            text += fixed
            if variable:
                return text, False
        else:
            regex = str(pattern)
            found = re.match(r"\^?([\w/ -]*)(.?)", regex, re.DOTALL)
            if found is None or "|" in regex:
                return text, False
            fixed, following = found.groups()
            if not regex.startswith("^"):
                return text, False  # Django searches.
            text += fixed[:-1] if following and following in "?*+{" else fixed
            if following:
                return text, False
    return text, True
