"""Who may do what on the cache page."""

from typing import Final

from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed

from cachelayer.admin.away import View

VIEW: Final = "cachelayer.view_cache"
OPERATE: Final = "cachelayer.operate_cache"


def may(request: HttpRequest, permission: str) -> bool:
    """Whether the user has *permission*. A user who may operate may also view."""
    return request.user.has_perm(permission) or request.user.has_perm(OPERATE)


def may_see_rows(request: HttpRequest, model: type[models.Model]) -> bool:
    """Whether the user may see the content of *model*'s rows, by Django's admin permissions."""
    options = model._meta
    return any(
        request.user.has_perm(f"{options.app_label}.{get_permission_codename(action, options)}")
        for action in ("view", "change")
    )


def checked(view: View, permission: str, methods: tuple[str, ...]) -> View:
    """*view*, limited to users with *permission* (else 403) and to *methods* (else 405)."""

    def view_checked(request: HttpRequest) -> HttpResponseBase:
        if not may(request, permission):
            raise PermissionDenied
        if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
            return HttpResponseNotAllowed(methods)
        return view(request)

    return view_checked
