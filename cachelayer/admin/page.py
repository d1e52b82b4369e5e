"""The cache page: the state of the cache, the look-up of one row, and the operations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from cachelayer import conf
from cachelayer.admin import charts, journal
from cachelayer.admin.access import OPERATE, VIEW, checked, may, may_see_rows
from cachelayer.admin.away import View, without_postgres
from cachelayer.admin.operations import TEMPLATES, Operations
from cachelayer.models import Cache
from cachelayer.operations import differences, inspect_key, overview
from cachelayer.representation import registry
from cachelayer.representation.computed import Computed

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Cache]
else:
    _ModelAdmin = admin.ModelAdmin


#: The parts of the page that ``stats.json`` renews. They hold nothing that can have the focus.
_REGIONS: Final = ("as_of", "verdict", "numbers", "charts", "processes", "redis")


class CachePage(Operations, _ModelAdmin):
    """Has no changelist: ``get_urls`` returns our paths only, because there is no table."""

    def has_view_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return may(request, VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        def at(route: str, name: str, view: View, permission: str, *methods: str) -> URLPattern:
            guarded = self.admin_site.admin_view(checked(view, permission, methods))
            outermost = without_postgres(guarded)
            for alias in connections:
                # With ATOMIC_REQUESTS, warming could fill rows that are older than the last COMMIT.
                transaction.non_atomic_requests(alias)(outermost)
            return path(route, outermost, name=f"cachelayer_cache_{name}")

        return [
            at("", "changelist", self.page_view, VIEW, "GET"),
            at("stats.json", "stats", self.stats_view, VIEW, "GET"),
            at("clear/", "clear", self.clear_view, OPERATE, "GET", "POST"),
            at("clear-key/", "clear_key", self.clear_key_view, OPERATE, "POST"),
            at("start/", "start", self.start_view, OPERATE, "POST"),
            at("job/", "job", self.job_view, OPERATE, "GET", "POST"),
        ]

    def page_view(self, request: HttpRequest) -> HttpResponse:
        """The page; with ``?key=``, also the inspection of one row."""
        found = overview.collect()
        context = {
            **_regions_context(found),
            "models": list(registry.every()),
            "may_operate": may(request, OPERATE),
            "actions": journal.latest(),
            "typed": request.GET.get("key", ""),
            "prefix": request.GET.get("model", ""),
            **self._inspected(request),
        }
        return self.answer(request, "page", "Cache", context)

    def stats_view(self, request: HttpRequest) -> HttpResponse:
        """The changing parts of the page, as data and as rendered regions."""
        found = overview.collect()
        context = _regions_context(found)
        html = {name: render_to_string(f"{TEMPLATES}/_{name}.html", context) for name in _REGIONS}
        return JsonResponse({**found.as_json(), "html": html})

    def _inspected(self, request: HttpRequest) -> dict[str, Any]:
        typed = request.GET.get("key", "")
        if not typed:
            return {}
        try:
            inspection = inspect_key.inspect_text(
                inspect_key.parse(request.GET.get("model", ""), typed)
            )
        except ValueError as error:
            return {"inspection_error": str(error)}
        return {
            "inspection": inspection,
            "may_see_row": all(
                may_see_rows(request, model) for model in inspection.cached.shown_models()
            ),
            "cached_text": differences.text(inspection.value or b""),
            "row_text": differences.text(inspection.row or b""),
            "change_url": self._change_url(request, inspection),
        }

    def _change_url(self, request: HttpRequest, inspection: inspect_key.Inspection) -> str:
        """The row's change page, if this site has the model and the user may see it; else ""."""
        if isinstance(inspection.cached, Computed) or inspection.cached.by:
            return ""
        model_admin = self.admin_site._registry.get(inspection.cached.model)
        if model_admin is None or not model_admin.has_view_or_change_permission(request):
            return ""
        options = inspection.cached.model._meta
        name = f"{self.admin_site.name}:{options.app_label}_{options.model_name}_change"
        return reverse(name, args=[inspection.pk])

    def answer(
        self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"{TEMPLATES}/{template}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "may_operate": may(request, OPERATE),
                **context,
            },
        )


def _regions_context(found: overview.Overview) -> dict[str, Any]:
    history = found.history
    return {
        "facts": found,
        "settings": conf.get(),
        "reads_chart": history and charts.reads(history),
        "hit_rate_chart": history and charts.hit_rates(history),
        "latency_chart": charts.latencies(found.latencies),
    }
