"""The cache state of a row, on the change page of its model."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from cachelayer.operations import inspect_key
from cachelayer.representation import registry

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = object


class CachedRowPanel(_ModelAdmin):
    """For the ``ModelAdmin`` of a registered model: a panel with the row's cache state.

    ``class BookAdmin(CachedRowPanel, admin.ModelAdmin)``; nothing else is needed.
    """

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), "cached_row", "cached_row_linked"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        ours = ("cached_row", "cached_row_linked")
        # Without ``fields``, Django adds every readonly field by itself.
        fieldsets = [
            (name, {**options, "fields": [f for f in options["fields"] if f not in ours]})
            for name, options in super().get_fieldsets(request, obj)
        ]
        if obj is None:
            return fieldsets
        may_view = any(
            request.user.has_perm(f"cachelayer.{name}_cache") for name in ("view", "operate")
        )
        panel = ours[1] if may_view else ours[0]
        return [*fieldsets, (_("Cache"), {"fields": [panel]})]

    @admin.display(description=_("Cached row"))
    def cached_row(self, obj: Any) -> SafeString:
        return _panel(obj, link=False)

    @admin.display(description=_("Cached row"))
    def cached_row_linked(self, obj: Any) -> SafeString:
        return _panel(obj, link=True)


def _panel(obj: Any, *, link: bool) -> SafeString:
    try:
        cached = registry.get(type(obj))
    except ImproperlyConfigured as error:
        return SafeString(error)
    inspection = inspect_key.inspect(cached.model, obj.pk)
    return render_to_string(
        "admin/cachelayer/cache/row_panel.html", {"inspection": inspection, "link": link}
    )
