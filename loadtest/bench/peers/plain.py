"""The same service without the cache layer: Django and REST framework as one writes them.

``gunicorn loadtest.bench.peers.plain:application``. One table of the same columns and
indexes, ``bench_items``; the middlewares, the database settings and the steps of a write
(lock, check, save, commit) are those of the lab. With BENCH_CACHE=cacheops in the environment,
django-cacheops caches its querysets, configured as ``library/ways.py`` has it.
"""

import os
from decimal import Decimal
from typing import Any, ClassVar

import dj_database_url
import django
from django.conf import settings

_IS_CACHED = os.environ.get("BENCH_CACHE") == "cacheops"
_MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=_MIDDLEWARE,
    INSTALLED_APPS=[
        *("django.contrib.contenttypes", "django.contrib.auth", "rest_framework"),
        # This module: a model that comes out of a cache is looked up in its app.
        __name__,
        *(["cacheops"] if _IS_CACHED else []),
    ],
    CACHEOPS_REDIS=os.environ["REDIS_URL"],
    CACHEOPS={"plain.*": {"ops": "all", "timeout": 60 * 60}},
    DATABASES={
        "default": {
            **dj_database_url.parse(os.environ["DATABASE_URL"]),
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {"options": "-c statement_timeout=15000"},
        }
    },
    APPEND_SLASH=False,
    TIME_ZONE="UTC",
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "COERCE_DECIMAL_TO_STRING": False,
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

# All of these need the settings.
import uuid  # noqa: E402

from django.core.validators import MinValueValidator  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import pagination, serializers, viewsets  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


class Item(models.Model):
    """As the lab's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    description = models.TextField(max_length=10_000, blank=True, default="")
    price = models.DecimalField(
        max_digits=10, decimal_places=2, validators=[MinValueValidator(Decimal(0))]
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: "ClassVar[models.Manager[Item]]" = models.Manager()

    class Meta:
        managed = False
        db_table = "bench_items"

    def __str__(self) -> str:
        return self.name


class ItemSerializer(serializers.ModelSerializer[Item]):
    """As the lab's."""

    class Meta:
        model = Item
        fields = ["id", "name", "description", "price", "created_at", "updated_at"]


class NewestFirst(pagination.CursorPagination):
    """The lab's order, and its way to page."""

    ordering = ("-created_at", "-id")
    page_size = 10
    page_size_query_param = "limit"


class ItemViewSet(viewsets.ModelViewSet[Item]):
    """REST framework's own views; a write locks its row, as the lab's does."""

    queryset = Item.objects.all()
    serializer_class = ItemSerializer
    pagination_class = NewestFirst

    @transaction.atomic
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """PUT."""
        self.queryset = Item.objects.select_for_update()
        return super().update(request, *args, **kwargs)

    @transaction.atomic
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """POST."""
        return super().create(request, *args, **kwargs)


def health(request: HttpRequest) -> JsonResponse:
    """That it runs."""
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("health", health),
    path("items", ItemViewSet.as_view({"get": "list", "post": "create"})),
    path("items/<uuid:pk>", ItemViewSet.as_view({"get": "retrieve", "put": "update"})),
]

application = get_wsgi_application()
