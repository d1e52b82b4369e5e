"""The operations of the cache page: clear, warm, verify, repair."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.http.response import JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode

from cachelayer.admin import jobs, journal
from cachelayer.admin.away import wants_json
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Cache
from cachelayer.operations import clear
from cachelayer.representation import registry

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Cache]
else:
    _ModelAdmin = object

TEMPLATES: Final = "admin/cachelayer/cache"

#: Seconds that a confirmation page counts keys before it says "at least".
_COUNTING: Final = 3.0
_NAMES: Final = {"clear": "Clear", "warm": "Warm", "verify": "Verify", "repair": "Repair"}
#: The result for the keys that a job counts as changed.
_DONE: Final = {
    "clear": "deleted",
    "warm": "filled",
    "verify": "differing from Postgres",
    "repair": "repaired",
}


class Operations(_ModelAdmin):
    """The views behind the page's buttons."""

    def answer(
        self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any]
    ) -> HttpResponse:
        """A page of the admin."""
        raise NotImplementedError

    def clear_view(self, request: HttpRequest) -> HttpResponseBase:
        """GET asks for confirmation, with scope and count; POST starts the job."""
        scope = _scope(request)
        if not scope:
            messages.error(request, "No such model is cached. Choose one from the list.")
            return self._back()
        if request.method == "POST":
            return self._begin(request, "clear", scope)
        try:
            count = clear.count(scope, _COUNTING)
        except CacheUnavailable as error:
            return self._refuse(request, error)
        context = {"scope": scope, "count": count, "whole": len(scope) == len(_prefixes())}
        return self.answer(request, "confirm_clear", "Clear the cache?", context)

    def clear_key_view(self, request: HttpRequest) -> HttpResponseBase:
        """Delete one key."""
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
            said = "was deleted" if deleted else "had no value that may be deleted"
            messages.success(request, f"The key {key} {said}.")
        url = reverse(f"{self.admin_site.name}:cachelayer_cache_changelist")
        return HttpResponseRedirect(f"{url}?{urlencode({'key': key})}#look-up")

    def start_view(self, request: HttpRequest) -> HttpResponseBase:
        """Start a job that needs no confirmation."""
        kind = request.POST.get("kind", "")
        if kind not in ("warm", "verify", "repair"):
            messages.error(request, f"There is no job {kind!r}.")
            return self._back()
        return self._begin(request, kind, _scope(request))

    def job_view(self, request: HttpRequest) -> HttpResponseBase:
        """GET shows the progress of a job; POST does the next slice, or ends the job."""
        sent = request.POST if request.method == "POST" else request.GET
        try:
            job = jobs.load(sent.get("state", ""), request.user)
        except jobs.Expired as error:
            if wants_json(request):
                return JsonResponse({"error": str(error)}, status=410)
            messages.error(request, f"{error} Start it again.")
            return self._back()
        if request.method == "GET":
            return self.answer(request, "job", _title(job), _job_context(job))
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
        html = render_to_string(f"{TEMPLATES}/_job.html", context, request)
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
        sentence = f"Redis does not answer, so nothing was done: {error} Try again when it is up."
        messages.error(request, sentence)
        return self._back()


def _prefixes() -> list[str]:
    return [cached.prefix for cached in registry.every()]


def _scope(request: HttpRequest) -> list[str]:
    """The prefixes that ``model`` names; all prefixes if it names none."""
    sent = request.POST if request.method == "POST" else request.GET
    wanted = [name for name in sent.getlist("model") if name]
    return [prefix for prefix in _prefixes() if not wanted or prefix in wanted]


def _title(job: jobs.Job) -> str:
    if job.kind == "repair":
        return "Repair"
    if job.scope == jobs.prefixes(job.kind) and len(job.scope) > 1:
        return f"{_NAMES[job.kind]} everything"
    return f"{_NAMES[job.kind]} " + ", ".join(f"{prefix}:*" for prefix in job.scope)


def _result(job: jobs.Job) -> str:
    return f"{job.seen} checked, {job.changed} {_DONE[job.kind]}"


def _job_context(job: jobs.Job) -> dict[str, Any]:
    return {
        "job": job,
        "job_title": _title(job),
        "result": _result(job),
        "percent": int(job.share * 100),
        "state": job.dump(),
    }
