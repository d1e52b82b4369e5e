"""Every URL of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from itemsite import views
from itemsite.api import items_schema  # noqa: F401  (registers what it documents)

urlpatterns = [
    path("", include("itemsite.console.urls")),
    path("", include("items.urls")),
    path("items/<str:text>", views.not_an_id),
    path("cache/", include("cachelayer.urls")),
    path("health", views.health, name="health"),
    path("health/live", views.live, name="live"),
    path("metrics", views.prometheus, name="metrics"),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs",
        SpectacularSwaggerView.as_view(template_name="api/docs.html"),
        name="docs",
    ),
    # For the pages of the API: log in and out.
    path("api/auth/", include("rest_framework.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.server_error
