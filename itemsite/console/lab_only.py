"""What keeps the console's endpoints to the lab, and to this machine."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "[::1]"}


def is_lab(request: HttpRequest) -> bool:
    """Whether this is the lab, reached by one of this machine's own names.

    The second part keeps out a page of elsewhere whose name was made to point to
    127.0.0.1 (DNS rebinding), also where ALLOWED_HOSTS lets every name in.
    """
    return bool(settings.LAB) and _name(request.get_host()) in _THIS_MACHINE


def lab_only(view: View[P]) -> View[P]:
    """404 where it is not the lab."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not is_lab(request):
            raise Http404
        return view(request, *args, **kwargs)

    return checked


def _name(host: str) -> str:
    """*host* without its port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host
