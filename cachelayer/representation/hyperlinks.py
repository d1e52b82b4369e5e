"""URLs in cached rows: absolute, from ``CACHELAYER["BASE_URL"]``.

REST framework makes a hyperlink or a file's URL absolute by the request: its host, its format
suffix, its version. A cached row has no request. It is rendered as for one that came to
the base, without suffix, format or version; and a view whose request would make other URLs
answers without the cache.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.http import HttpRequest
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import translation

from cachelayer import conf

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Base:
    """What a cached row's serializer has in place of a request: it makes URLs absolute."""

    #: In it REST framework looks for the format that links keep.
    GET: Mapping[str, str] = MappingProxyType({})

    def build_absolute_uri(self, location: str) -> str:
        """As a request's that came to the base; ``ImproperlyConfigured`` for a relative path."""
        if not urlsplit(str(location)).netloc and not str(location).startswith("/"):
            raise ImproperlyConfigured(
                f"{location!r} is relative to the page that shows it, and a cached row has none. "
                "Give the storage a base_url that begins with a slash or with https://."
            )
        return _RequestAtBase().build_absolute_uri(location)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A cached row is rendered for everybody, without a request: there is no {name}. Leave "
            "it out of the serializer that the model is registered with."
        )


class _RequestAtBase(HttpRequest):
    @property
    def scheme(self) -> str:
        return urlsplit(conf.get().BASE_URL).scheme

    def get_host(self) -> str:
        return urlsplit(conf.get().BASE_URL).netloc


def made(serializer: Any) -> Any:
    """An instance of *serializer*, a REST framework class, that shows URLs at the base."""
    # Only here: REST framework is needed by those who use its serializers.
    from cachelayer.representation import serializer_context

    is_with_base = serializer_context.of(serializer) is serializer_context.Needs.BASE_URL
    if not is_with_base or not conf.get().BASE_URL:
        return serializer()
    instance = serializer(context={"request": Base()})
    instance.to_representation = _at_base()(instance.to_representation)
    return instance


@contextmanager
def _at_base() -> Iterator[None]:
    """Inside it, this thread makes URLs as for a request that came to the base."""
    prefix, urlconf = get_script_prefix(), get_urlconf()
    set_script_prefix(urlsplit(_base()).path)
    set_urlconf(None)
    try:
        with translation.override(settings.LANGUAGE_CODE):  # Of URLs with a language in them.
            yield
    finally:
        set_script_prefix(prefix)
        set_urlconf(urlconf)


def are_of_base(view: Any) -> bool:
    """Whether *view*'s answer to its request has the URLs that cached rows have."""
    from rest_framework.settings import api_settings

    request = view.request
    override = api_settings.URL_FORMAT_OVERRIDE
    if view.format_kwarg is not None or (override and override in request.GET):
        return False
    if not keeps_version_out(type(request.versioning_scheme)):
        return False
    if get_urlconf() not in (None, settings.ROOT_URLCONF):
        return False
    if translation.get_language() != settings.LANGUAGE_CODE:
        return False
    try:
        return bool(request.build_absolute_uri(get_script_prefix()) == _base())
    except DisallowedHost:
        return False  # Which the view itself runs into.


def keeps_version_out(versioning: Any) -> bool:
    """Whether *versioning*, a class of REST framework's, makes the same URLs for all versions."""
    from rest_framework.versioning import BaseVersioning

    reverse = getattr(versioning, "reverse", None)
    return reverse is None or reverse is BaseVersioning.reverse


def problem_of(base: str) -> str:
    """What is wrong with *base* as a setting, as the end of a sentence; "" if nothing is."""
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        return "has no valid port"
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return "does not begin with http:// or https:// and a host"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "has more than a scheme, a host, a port and a path"
    if parts.netloc != parts.netloc.lower() or port == _DEFAULT_PORTS[parts.scheme]:
        return "is not as browsers send it: in lower case, without the scheme's own port"
    return ""


def _base() -> str:
    return conf.get().BASE_URL.rstrip("/") + "/"
