"""Viewsets, each a function of its bases: made with the mixin and without."""

# mypy: ignore-errors

from django.db.models import F, Q
from rest_framework import (
    exceptions,
    filters,
    generics,
    pagination,
    permissions,
    versioning,
    viewsets,
)
from rest_framework.authentication import (
    BasicAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler

from cachelayer.tests.twins import parts, serializers
from cachelayer.tests.twins.models import Loose, Page, Report, Upload

#: By name: the function, and whether what it shows is served from the cache.
TWINS = {}


class Common:
    """What the lab's settings have otherwise."""

    authentication_classes = [BasicAuthentication, SessionAuthentication, TokenAuthentication]
    permission_classes = [permissions.AllowAny]
    renderer_classes = [JSONRenderer, BrowsableAPIRenderer]
    parser_classes = [JSONParser]
    content_negotiation_class = DefaultContentNegotiation
    throttle_classes = []
    filter_backends = []
    serializer_class = serializers.ReportSerializer

    def get_exception_handler(self):
        return exception_handler

    def perform_create(self, serializer):
        serializer.save(owner_id=self.request.user.pk or 1)


class ReportViewSet(Common, viewsets.ModelViewSet):
    queryset = Report.objects.order_by("pk")


def twin(*, hits):
    def add(make):
        TWINS[make.__name__] = make, hits
        return make

    return add


@twin(hits=True)
def everything(*bases):
    class View(*bases, ReportViewSet):
        pass

    return View


@twin(hits=True)
def said_public(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True

    return View


@twin(hits=True)
def said_public_with_search(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True
        filter_backends = [filters.SearchFilter, filters.OrderingFilter]
        search_fields = ["title"]

    return View


@twin(hits=True)
def said_public_for_members(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True
        permission_classes = [permissions.IsAuthenticated]

    return View


@twin(hits=True)
def said_public_but_filtered(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True
        queryset = Report.objects.filter(is_public=True).order_by("pk")

    return View


@twin(hits=True)
def said_public_but_by_object(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True

        def get_permissions(self):
            return [parts.OwnerOnly()]

    return View


@twin(hits=True)
def public_rows(*bases):
    class View(*bases, ReportViewSet):
        queryset = Report.objects.filter(is_public=True).order_by("pk")

    return View


@twin(hits=True)
def own_rows(*bases):
    class View(*bases, Common, viewsets.ModelViewSet):
        def get_queryset(self):
            return Report.objects.filter(owner=self.request.user.pk).order_by("pk")

    return View


@twin(hits=True)
def shared_rows(*bases):
    class View(*bases, ReportViewSet):
        def get_queryset(self):
            user = self.request.user.pk
            mine = Q(owner=user) | Q(readers__user=user)
            return super().get_queryset().select_related("owner").filter(mine).distinct()

    return View


@twin(hits=True)
def joined_rows(*bases):
    """A row that is read by two is found twice: an error, with the mixin too."""

    class View(*bases, ReportViewSet):
        def get_queryset(self):
            return super().get_queryset().filter(readers__isnull=False)

    return View


@twin(hits=True)
def prefetched(*bases):
    class View(*bases, ReportViewSet):
        queryset = (
            Report.objects.order_by("pk")
            .prefetch_related("readers")
            .defer("title")
            .annotate(twice=F("pk"))
        )

    return View


@twin(hits=False)
def values(*bases):
    class View(*bases, ReportViewSet):
        queryset = Report.objects.values(
            "id", "owner", "title", "slug", "salary", "is_public"
        ).order_by("pk")

    return View


@twin(hits=True)
def filter_backends(*bases):
    class View(*bases, ReportViewSet):
        filter_backends = [parts.VisibleTo, parts.ByTitle]

    return View


@twin(hits=True)
def said_public_with_filters(*bases):
    class View(*bases, ReportViewSet):
        rows_are_public = True
        filter_backends = [parts.VisibleTo]

    return View


@twin(hits=True)
def filter_queryset(*bases):
    class View(*bases, ReportViewSet):
        def filter_queryset(self, queryset):
            if self.request.user.is_staff:
                return queryset
            return queryset.filter(is_public=True)

    return View


@twin(hits=True)
def owner_only(*bases):
    class View(*bases, ReportViewSet):
        permission_classes = [permissions.IsAuthenticated, parts.OwnerOnly]

    return View


@twin(hits=True)
def hidden_by_permission(*bases):
    class View(*bases, ReportViewSet):
        permission_classes = [parts.HideFromStrangers]

    return View


@twin(hits=True)
def combined_permissions(*bases):
    class View(*bases, ReportViewSet):
        permission_classes = [permissions.IsAdminUser | parts.OwnerOrPublic]

    return View


@twin(hits=False)
def not_admin(*bases):
    class View(*bases, ReportViewSet):
        permission_classes = [~permissions.IsAdminUser]

    return View


@twin(hits=True)
def permissions_by_action(*bases):
    class View(*bases, ReportViewSet):
        def get_permissions(self):
            if self.action in ("retrieve", "list"):
                return [parts.OwnerOrPublic()]
            return [permissions.IsAdminUser()]

    return View


@twin(hits=True)
def check_object_permissions(*bases):
    class View(*bases, ReportViewSet):
        def check_object_permissions(self, request, obj):
            super().check_object_permissions(request, obj)
            if not obj.is_public and not request.user.is_staff:
                self.permission_denied(request, message="Not yours.")

    return View


@twin(hits=True)
def get_object(*bases):
    class View(*bases, ReportViewSet):
        def get_object(self):
            shown = super().get_object()
            if shown.owner_id != self.request.user.pk:
                raise exceptions.NotFound("Elsewhere.")
            return shown

    return View


@twin(hits=True)
def model_permissions(*bases):
    class View(*bases, ReportViewSet):
        permission_classes = [permissions.DjangoModelPermissionsOrAnonReadOnly]

    return View


@twin(hits=True)
def roles(*bases):
    class View(*bases, ReportViewSet):
        def get_serializer_class(self):
            if self.request.user.is_staff:
                return serializers.ReportSerializer
            return serializers.ShortReportSerializer

    return View


@twin(hits=False)
def short(*bases):
    class View(*bases, ReportViewSet):
        serializer_class = serializers.ShortReportSerializer

    return View


@twin(hits=False)
def greeting(*bases):
    class View(*bases, ReportViewSet):
        serializer_class = serializers.GreetingSerializer

    return View


@twin(hits=False)
def get_serializer(*bases):
    class View(*bases, ReportViewSet):
        def get_serializer(self, *args, **kwargs):
            made = super().get_serializer(*args, **kwargs)
            if not self.request.user.is_staff:
                getattr(made, "child", made).fields.pop("salary")
            return made

    return View


@twin(hits=False)
def own_retrieve(*bases):
    class View(*bases, ReportViewSet):
        def retrieve(self, request, *args, **kwargs):
            return Response({"own": kwargs["pk"], "title": self.get_object().title})

    return View


@twin(hits=True)
def wrapped_retrieve(*bases):
    class View(*bases, ReportViewSet):
        def retrieve(self, request, *args, **kwargs):
            response = super().retrieve(request, *args, **kwargs)
            response.data["title"] = response.data["title"].upper()
            response["X-Own"] = response.data["slug"]
            return response

    return View


class OwnBase(ReportViewSet):
    renderer_classes = [parts.Text, JSONRenderer]

    def retrieve(self, request, *args, **kwargs):
        return Response({"base": self.get_object().title})


@twin(hits=False)
def retrieve_of_a_base(*bases):
    class View(*bases, OwnBase):
        pass

    return View


@twin(hits=True)
def own_renderers(*bases):
    class View(*bases, ReportViewSet):
        renderer_classes = [parts.Text, JSONRenderer]

    return View


@twin(hits=False)
def text_only(*bases):
    class View(*bases, ReportViewSet):
        renderer_classes = [parts.Text]

    return View


@twin(hits=True)
def slugs(*bases):
    class View(*bases, ReportViewSet):
        lookup_field = "slug"
        queryset = Report.objects.filter(is_public=True).order_by("pk")

    return View


@twin(hits=True)
def said_public_by_slug(*bases):
    class View(*bases, ReportViewSet):
        lookup_field = "slug"
        rows_are_public = True

    return View


@twin(hits=True)
def said_public_by_title(*bases):
    class View(*bases, ReportViewSet):
        lookup_field = "title"
        rows_are_public = True

    return View


@twin(hits=True)
def url_kwarg(*bases):
    class View(*bases, ReportViewSet):
        lookup_field = "id"
        lookup_url_kwarg = "number"

    return View


@twin(hits=True)
def versions(*bases):
    class View(*bases, ReportViewSet):
        class versioning_class(versioning.QueryParameterVersioning):  # noqa: N801
            default_version = "1"
            allowed_versions = ["2"]

    return View


@twin(hits=True)
def throttled(*bases):
    class View(*bases, ReportViewSet):
        throttle_classes = [parts.SlowDown]

    return View


@twin(hits=True)
def own_errors(*bases):
    class View(*bases, ReportViewSet):
        queryset = Report.objects.filter(is_public=True).order_by("pk")

        def get_exception_handler(self):
            return parts.teapot

    return View


@twin(hits=True)
def uploads(*bases):
    class View(*bases, Common, viewsets.ModelViewSet):
        queryset = Upload.objects.order_by("pk")
        serializer_class = serializers.UploadSerializer

    return View


class PageViewSet(Common, viewsets.ModelViewSet):
    queryset = Page.objects.order_by("pk")
    serializer_class = serializers.PageSerializer


@twin(hits=True)
def pages(*bases):
    class View(*bases, PageViewSet):
        pass

    return View


@twin(hits=True)
def public_pages(*bases):
    class View(*bases, PageViewSet):
        rows_are_public = True

    return View


@twin(hits=True)
def own_pages(*bases):
    class View(*bases, Common, viewsets.ModelViewSet):
        serializer_class = serializers.PageSerializer

        def get_queryset(self):
            return Page.objects.filter(pk__lt=4).order_by("pk")

    return View


@twin(hits=False)
def pages_of_versions(*bases):
    class View(*bases, PageViewSet):
        class versioning_class(versioning.QueryParameterVersioning):  # noqa: N801
            default_version = "1"
            allowed_versions = ["2"]

    return View


@twin(hits=True)
def pages_of_media_versions(*bases):
    """Of versions that no URL has."""

    class View(*bases, PageViewSet):
        versioning_class = versioning.AcceptHeaderVersioning

    return View


@twin(hits=False)
def pages_in_own_context(*bases):
    class View(*bases, PageViewSet):
        def get_serializer_context(self):
            return {**super().get_serializer_context(), "format": "json"}

    return View


@twin(hits=False)
def loose(*bases):
    class View(*bases, Common, viewsets.ModelViewSet):
        queryset = Loose.objects.order_by("pk")
        serializer_class = serializers.LooseSerializer

    return View


@twin(hits=True)
def of_owner(*bases):
    """Nested: /of_owner/<owner>/<pk>."""

    class View(*bases, Common, viewsets.ModelViewSet):
        def get_queryset(self):
            return Report.objects.filter(owner=self.kwargs["owner"]).order_by("pk")

    return View


@twin(hits=True)
def generic_view(*bases):
    class View(*bases, Common, generics.RetrieveUpdateDestroyAPIView):
        queryset = Report.objects.filter(is_public=True).order_by("pk")

    return View


class Paged:
    """Anybody may read the pages, and the URL says which."""

    rows_are_public = True
    list_filters = ()
    filter_backends = [filters.SearchFilter, filters.OrderingFilter]
    search_fields = ["title"]


class Numbers(pagination.PageNumberPagination):
    page_size = 2
    page_size_query_param = "size"


class Offsets(pagination.LimitOffsetPagination):
    default_limit = 2


class Cursors(pagination.CursorPagination):
    page_size = 2
    ordering = "-title"


@twin(hits=True)
def paged_by_number(*bases):
    class View(*bases, Paged, ReportViewSet):
        pagination_class = Numbers

    return View


@twin(hits=True)
def paged_by_offset(*bases):
    class View(*bases, Paged, ReportViewSet):
        queryset = Report.objects.filter(is_public=True).order_by("title").order_by("pk")
        pagination_class = Offsets

    return View


@twin(hits=True)
def paged_by_cursor(*bases):
    class View(*bases, Paged, ReportViewSet):
        pagination_class = Cursors
        filter_backends = []

    return View


@twin(hits=True)
def paged_documents(*bases):
    class View(*bases, Paged, ReportViewSet):
        serializer_class = serializers.ReadReportSerializer
        pagination_class = Numbers

    return View


@twin(hits=True)
def listed_whole(*bases):
    class View(*bases, Paged, ReportViewSet):
        pass

    return View


@twin(hits=True)
def by_action(*bases):
    """Its list shows other columns than its rows."""

    class View(*bases, Paged, ReportViewSet):
        pagination_class = Numbers

        def get_serializer_class(self):
            if self.action == "list":
                return serializers.ReadReportSerializer
            return serializers.ReportSerializer

    return View
