"""Permissions, filters, renderers and other parts of a project's own."""

from django.db.models import Q
from rest_framework import filters, permissions, throttling
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler


class OwnerOnly(permissions.BasePermission):
    message = "It is another's."

    def has_object_permission(self, request, view, obj):
        return obj.owner_id == request.user.pk


class OwnerOrPublic(permissions.IsAuthenticated):
    def has_object_permission(self, request, view, obj):
        return obj.is_public or obj.owner_id == request.user.pk


class HideFromStrangers(permissions.BasePermission):
    def has_object_permission(self, request, view, obj):
        if obj.owner_id != request.user.pk:
            raise NotFound("There is nothing.")
        return True


class VisibleTo(filters.BaseFilterBackend):
    def filter_queryset(self, request, queryset, view):
        return queryset.filter(Q(is_public=True) | Q(owner=request.user.pk))


class ByTitle(filters.BaseFilterBackend):
    def filter_queryset(self, request, queryset, view):
        title = request.query_params.get("title")
        return queryset.filter(title=title) if title else queryset


class Text(BaseRenderer):
    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return "\n".join(f"{name}: {value}" for name, value in sorted(data.items()))


class SlowDown(throttling.BaseThrottle):
    def allow_request(self, request, view):
        return "HTTP_X_SLOW" not in request.META

    def wait(self):
        return 7


def teapot(exc, context):
    response = exception_handler(exc, context)
    if response is not None and response.status_code == 404:
        return Response({"short": "and stout"}, status=418, headers={"X-Tea": "1"})
    return response
