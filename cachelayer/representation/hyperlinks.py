"""URLs in cached rows: absolute, from ``CACHELAYER["BASE_URL"]``.

REST framework makes the URL of a hyperlink or a file absolute from the request: its host, format
suffix and version. A cached row has no request. It is rendered as if the request had come to the
base URL, without suffix, format or version. A view whose request would make other URLs answers
without the cache.
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
    """Replaces the request for the serializer of a cached row, and makes URLs absolute."""

    #: REST framework looks here for the format that links keep.
    GET: Mapping[str, str] = MappingProxyType({})

    def build_absolute_uri(self, location: str) -> str:
        """The URL for a request to the base URL; ``ImproperlyConfigured`` for a relative path."""
        if not urlsplit(str(location)).netloc and not str(location).startswith("/"):
            raise ImproperlyConfigured(
                f"{location!r} is relative to a page, and a cached row has no page. Give the "
                "storage a base_url that begins with a slash or with https://."
            )
        return _RequestAtBase().build_absolute_uri(location)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A cached row is rendered for everybody, without a request, so there is no {name}. "
            "Leave it out of the serializer that the model is registered with."
        )


class _RequestAtBase(HttpRequest):
    @property
    def scheme(self) -> str:
        return urlsplit(conf.get().BASE_URL).scheme

    def get_host(self) -> str:
        return urlsplit(conf.get().BASE_URL).netloc


def made(serializer: Any) -> Any:
    """An instance of the REST framework class *serializer* that shows URLs at the base URL."""
    # Imported late, because only projects with its serializers need REST framework.
    from cachelayer.representation import serializer_context

    is_with_base = serializer_context.of(serializer) is serializer_context.Needs.BASE_URL
    if not is_with_base or not conf.get().BASE_URL:
        return serializer()
    instance = serializer(context={"request": Base()})
    instance.to_representation = _at_base()(instance.to_representation)
    return instance


@contextmanager
def _at_base() -> Iterator[None]:
    """Inside, this thread makes URLs as for a request to the base URL."""
    prefix, urlconf = get_script_prefix(), get_urlconf()
    set_script_prefix(urlsplit(_base()).path)
    set_urlconf(None)
    try:
        with translation.override(settings.LANGUAGE_CODE):  # For URLs that contain a language.
            yield
    finally:
        set_script_prefix(prefix)
        set_urlconf(urlconf)


def are_of_base(view: Any) -> bool:
    """Whether *view*'s answer to its request has the same URLs as cached rows."""
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
        return False  # The view itself will meet this error.


def keeps_version_out(versioning: Any) -> bool:
    """Whether REST framework's class *versioning* makes the same URLs for all versions."""
    from rest_framework.versioning import BaseVersioning

    reverse = getattr(versioning, "reverse", None)
    return reverse is None or reverse is BaseVersioning.reverse


def problem_of(base: str) -> str:
    """What is wrong with *base* as a setting, to end a sentence with; "" if nothing is."""
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
        return "is not in the form that browsers send: lower case, without the default port"
    return ""


def _base() -> str:
    return conf.get().BASE_URL.rstrip("/") + "/"
