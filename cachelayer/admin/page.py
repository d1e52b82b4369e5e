"""The cache page: what is so, one row looked up, and what an operator may do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.http.response import HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from cachelayer import clear, conf, differences, facts, lookup, registry
from cachelayer.admin import charts, jobs, journal
from cachelayer.admin.away import View, wants_json, without_postgres
from cachelayer.gate import CacheUnavailable
from cachelayer.models import Cache

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Cache]
else:
    _ModelAdmin = admin.ModelAdmin

VIEW: Final = "cachelayer.view_cache"
OPERATE: Final = "cachelayer.operate_cache"

#: Seconds that a confirmation counts before it says "at least".
_COUNTING: Final = 3.0
_TEMPLATES: Final = "admin/cachelayer/cache"
#: The parts of the page that ``stats.json`` brings anew; nothing in them takes the focus.
_REGIONS: Final = ("as_of", "verdict", "numbers", "charts", "processes", "redis")
_NAMES: Final = {"clear": "Clear", "warm": "Warm", "verify": "Verify", "repair": "Repair"}
#: What became of the keys that a job has changed.
_DONE: Final = {
    "clear": "deleted",
    "warm": "filled",
    "verify": "differing from Postgres",
    "repair": "repaired",
}


class CachePage(_ModelAdmin):
    """No changelist: ``get_urls`` gives our paths only, for there is no table behind them."""

    def has_view_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return _may(request, VIEW) or _may(request, OPERATE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Cache | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        def at(route: str, name: str, view: View, permission: str, *methods: str) -> URLPattern:
            checked = self.admin_site.admin_view(_checked(view, permission, methods))
            outermost = without_postgres(checked)
            for alias in connections:
                # With ATOMIC_REQUESTS, warming could fill rows from before the last COMMIT.
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
        """The page; with ``?key=``, what is known of one row as well."""
        found = facts.collect()
        context = {
            **_regions_context(found),
            "models": list(registry.all_cached()),
            "may_operate": _may(request, OPERATE),
            "actions": journal.latest(),
            "typed": request.GET.get("key", ""),
            "prefix": request.GET.get("model", ""),
            **self._looked_up(request),
        }
        return self._answer(request, "page", "Cache", context)

    def stats_view(self, request: HttpRequest) -> HttpResponse:
        """Everything the page shows that changes, as data and as the page's own regions."""
        found = facts.collect()
        context = _regions_context(found)
        html = {name: render_to_string(f"{_TEMPLATES}/_{name}.html", context) for name in _REGIONS}
        return JsonResponse({**found.as_json(), "html": html})

    def clear_view(self, request: HttpRequest) -> HttpResponseBase:
        """GET asks, with the scope and the count; POST begins."""
        scope = _scope(request)
        if not scope:
            messages.error(request, "No such model is cached.")
            return self._back()
        if request.method == "POST":
            return self._begin(request, "clear", scope)
        try:
            count = clear.count(scope, _COUNTING)
        except CacheUnavailable as error:
            return self._refuse(request, error)
        context = {"scope": scope, "count": count, "whole": len(scope) == len(_prefixes())}
        return self._answer(request, "confirm_clear", "Clear the cache?", context)

    def clear_key_view(self, request: HttpRequest) -> HttpResponseBase:
        """Delete what is cached of one row."""
        key = request.POST.get("key", "")
        try:
            registry.of_key(key).pk(key)
            journal.note(request.user, f"Clear {key}")
            deleted = clear.clear_keys([key])
        except ValueError as error:
            messages.error(request, str(error))
        except CacheUnavailable as error:
            return self._refuse(request, error)
        else:
            said = "was deleted" if deleted else "held nothing that may be deleted"
            messages.success(request, f"The key {key} {said}.")
        url = reverse(f"{self.admin_site.name}:cachelayer_cache_changelist")
        return HttpResponseRedirect(f"{url}?{urlencode({'key': key})}#look-up")

    def start_view(self, request: HttpRequest) -> HttpResponseBase:
        """Begin a job that needs no confirmation."""
        kind = request.POST.get("kind", "")
        if kind not in ("warm", "verify", "repair"):
            messages.error(request, f"There is no job {kind!r}.")
            return self._back()
        return self._begin(request, kind, _scope(request))

    def job_view(self, request: HttpRequest) -> HttpResponseBase:
        """GET shows how far a job is; POST goes on for a slice, or ends it."""
        sent = request.POST if request.method == "POST" else request.GET
        try:
            job = jobs.load(sent.get("state", ""), request.user)
        except jobs.Expired as error:
            if wants_json(request):
                return JsonResponse({"error": str(error)}, status=410)
            messages.error(request, f"{error} Start it again.")
            return self._back()
        if request.method == "GET":
            return self._answer(request, "job", _title(job), _job_context(job))
        if "cancel" in request.POST:
            journal.note(request.user, f"{_title(job)}: stopped; {_result(job)}")
            messages.warning(request, f"{_title(job)} was stopped: {_result(job)}.")
            return self._back()
        return self._go_on(request, job)

    def _begin(self, request: HttpRequest, kind: str, scope: list[str]) -> HttpResponseBase:
        job = jobs.start(kind, request.user, scope)
        journal.note(request.user, f"{_title(job)}: started")
        return self._show(job)

    def _go_on(self, request: HttpRequest, job: jobs.Job) -> HttpResponseBase:
        was_finished = job.finished
        try:
            job.run()
        except CacheUnavailable as error:
            if wants_json(request):
                return JsonResponse({"error": f"Redis does not answer: {error}"}, status=503)
            return self._refuse(request, error)
        if job.finished and not was_finished:
            journal.note(request.user, f"{_title(job)}: done; {_result(job)}")
        if not wants_json(request):
            return self._show(job)
        context = _job_context(job)
        html = render_to_string(f"{_TEMPLATES}/_job.html", context, request)
        return JsonResponse(
            {
                "state": context["state"],
                "share": job.share,
                "seen": job.seen,
                "changed": job.changed,
                "finished": job.finished,
                "html": html,
            }
        )

    def _show(self, job: jobs.Job) -> HttpResponseRedirect:
        url = reverse(f"{self.admin_site.name}:cachelayer_cache_job")
        return HttpResponseRedirect(f"{url}?{urlencode({'state': job.dump()})}")

    def _back(self) -> HttpResponseRedirect:
        return redirect(f"{self.admin_site.name}:cachelayer_cache_changelist")

    def _refuse(self, request: HttpRequest, error: CacheUnavailable) -> HttpResponseRedirect:
        sentence = "Redis does not answer, so nothing was done: {} Try again when it is back."
        messages.error(request, format_html(sentence, str(error)))
        return self._back()

    def _looked_up(self, request: HttpRequest) -> dict[str, Any]:
        typed = request.GET.get("key", "")
        if not typed:
            return {}
        try:
            look = lookup.look_at(lookup.parse(request.GET.get("model", ""), typed))
        except ValueError as error:
            return {"look_error": str(error)}
        return {
            "look": look,
            "cached_text": differences.text(look.value or b""),
            "row_text": differences.text(look.row or b""),
            "change_url": self._change_url(request, look),
        }

    def _change_url(self, request: HttpRequest, look: lookup.Look) -> str:
        """Where the row is edited, if this site has its model and this user may see it."""
        model_admin = self.admin_site._registry.get(look.cached.model)
        if model_admin is None or not model_admin.has_view_or_change_permission(request):
            return ""
        options = look.cached.model._meta
        name = f"{self.admin_site.name}:{options.app_label}_{options.model_name}_change"
        return reverse(name, args=[look.pk])

    def _answer(
        self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"{_TEMPLATES}/{template}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "may_operate": _may(request, OPERATE),
                **context,
            },
        )


def _checked(view: View, permission: str, methods: tuple[str, ...]) -> View:
    def checked(request: HttpRequest) -> HttpResponseBase:
        # Who may operate may look as well.
        if not (_may(request, permission) or _may(request, OPERATE)):
            raise PermissionDenied
        if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
            return HttpResponseNotAllowed(methods)
        return view(request)

    return checked


def _may(request: HttpRequest, permission: str) -> bool:
    return request.user.has_perm(permission)


def _prefixes() -> list[str]:
    return [cached.prefix for cached in registry.all_cached()]


def _scope(request: HttpRequest) -> list[str]:
    """The prefixes that ``model`` names; all of them where it names none."""
    sent = request.POST if request.method == "POST" else request.GET
    wanted = [name for name in sent.getlist("model") if name]
    return [prefix for prefix in _prefixes() if not wanted or prefix in wanted]


def _regions_context(found: facts.Facts) -> dict[str, Any]:
    history = found.history
    return {
        "facts": found,
        "settings": conf.get(),
        "reads_chart": history and charts.reads(history),
        "hit_rate_chart": history and charts.hit_rates(history),
        "latency_chart": charts.latencies(found.latencies),
    }


def _title(job: jobs.Job) -> str:
    if job.kind == "repair":
        return "Repair"
    if job.scope == _prefixes() and len(job.scope) > 1:
        return f"{_NAMES[job.kind]} everything"
    return f"{_NAMES[job.kind]} " + ", ".join(f"{prefix}:*" for prefix in job.scope)


def _result(job: jobs.Job) -> str:
    return f"{job.seen} looked at, {job.changed} {_DONE[job.kind]}"


def _job_context(job: jobs.Job) -> dict[str, Any]:
    return {
        "job": job,
        "job_title": _title(job),
        "result": _result(job),
        "percent": int(job.share * 100),
        "state": job.dump(),
    }
