"""Only a row that Django would give to everybody alike is answered without Django."""

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path, re_path
from django.views.decorators.cache import cache_control
from rest_framework import permissions, throttling, viewsets
from rest_framework.authentication import BaseAuthentication
from rest_framework.filters import BaseFilterBackend, SearchFilter
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.routers import DefaultRouter

from cachelayer.contrib import public_routes
from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.tests.bookshop.models import Book
from cachelayer.tests.bookshop.serializers import BookSerializer, NoteSerializer


class BookViewSet(CachedViewMixin, viewsets.GenericViewSet):
    queryset = Book.objects.all()
    rows_are_public = True
    permission_classes = [permissions.AllowAny]
    throttle_classes = []
    authentication_classes = []
    content_negotiation_class = DefaultContentNegotiation


class Urls:
    def __init__(self, urlpatterns):
        self.urlpatterns = urlpatterns


@pytest.fixture
def pk_of(settings):
    """The primary key that is read without Django for a path, with these URL patterns."""

    def find(urlpatterns, asked):
        settings.ROOT_URLCONF = Urls(urlpatterns)
        found = (
            route.pk(asked) for route in public_routes.find() if asked.startswith(route.literal)
        )
        return next((pk for pk in found if pk is not None), None)

    return find


def single(view=BookViewSet, **initkwargs):
    return view.as_view({"get": "retrieve"}, **initkwargs)


def with_(**attributes):
    """The viewset with some attributes of its own."""
    return type("Own", (BookViewSet,), attributes)


def book_urls(view):
    return [path("books/<pk>", view)]


def test_ids_are_found_as_django_finds_them(pk_of):
    assert pk_of([path("books/<int:pk>", single())], "books/1") == 1
    assert pk_of([path("shop/", include([path("books/<int:pk>", single())]))], "shop/books/1") == 1
    assert pk_of([re_path(r"^books/(?P<pk>\d+)/?$", single())], "books/1/") == 1
    router = DefaultRouter()
    router.register("books", BookViewSet)
    assert pk_of([path("api/", include(router.urls))], "api/books/1/") == 1
    assert pk_of([path("api/", include(router.urls))], "api/books/1.json") is None


def test_what_is_no_id_of_the_model_is_left_to_django(pk_of):
    assert pk_of(book_urls(single()), "books/abc") is None
    assert pk_of(book_urls(single()), "books/") is None
    assert pk_of(book_urls(single()), "elsewhere/1") is None


class Named(permissions.BasePermission):
    same_for_anonymous = True


class Inherited(Named):
    pass


class ByObject(Named):
    same_for_anonymous = True

    def has_object_permission(self, request, view, obj):
        return False


class OwnFilter(BaseFilterBackend):
    pass


class OwnAuthentication(BaseAuthentication):
    pass


class OwnNegotiation(DefaultContentNegotiation):
    pass


@pytest.mark.parametrize(
    "attributes",
    [
        {"permission_classes": [permissions.IsAuthenticatedOrReadOnly]},
        {"permission_classes": []},
        {"permission_classes": [Named]},
        {"http_method_names": ["get"]},
        {"serializer_class": BookSerializer},
        {"filter_backends": [SearchFilter]},
    ],
)
def test_public_views_are(pk_of, attributes):
    assert pk_of(book_urls(single(with_(**attributes))), "books/1") == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"permission_classes": [permissions.IsAuthenticated]},
        {"permission_classes": [permissions.IsAdminUser]},
        {"permission_classes": [permissions.AllowAny, permissions.IsAuthenticated]},
        {"permission_classes": [permissions.AllowAny | permissions.IsAdminUser]},
        {"permission_classes": [permissions.BasePermission]},
        {"permission_classes": [Inherited]},
        {"throttle_classes": [throttling.AnonRateThrottle]},
        {"authentication_classes": [OwnAuthentication]},
        {"content_negotiation_class": OwnNegotiation},
        {"rows_are_public": False},
        {"queryset": Book.objects.filter(pages=1)},
        {"get_queryset": lambda self: Book.objects.all()},
        {"filter_queryset": lambda self, queryset: queryset},
        {"filter_backends": [OwnFilter]},
        {"permission_classes": [ByObject]},
        {"check_object_permissions": lambda self, request, obj: None},
        {"get_object": lambda self: None},
        {"get_serializer_class": lambda self: BookSerializer},
        {"get_serializer": lambda self, *args, **kwargs: None},
        {"serializer_class": NoteSerializer},
        {"lookup_field": "title"},
        {"lookup_url_kwarg": "other"},
        {"perform_authentication": lambda self, request: None},
        {"retrieve": lambda self, request, pk: None},
        {"get_permissions": lambda self: []},
        {"initial": lambda self, request, *args, **kwargs: None},
        {"dispatch": lambda self, request, *args, **kwargs: None},
        {"finalize_response": lambda self, request, response, *args, **kwargs: response},
    ],
)
def test_views_that_may_ask_more_are_not(pk_of, attributes):
    assert pk_of(book_urls(single(with_(**attributes))), "books/1") is None


def test_arguments_of_as_view_count(pk_of):
    private = single(permission_classes=[permissions.IsAuthenticated])
    assert pk_of(book_urls(private), "books/1") is None
    public = with_(permission_classes=[permissions.IsAuthenticated])
    opened = single(public, permission_classes=[permissions.AllowAny])
    assert pk_of(book_urls(opened), "books/1") == 1


def test_a_decorated_view_is_left_to_django(pk_of):
    assert pk_of(book_urls(cache_control(private=True)(single())), "books/1") is None


def test_another_action_is_left_to_django(pk_of):
    view = with_(other=lambda self, request, pk: None).as_view({"get": "other"})
    assert pk_of(book_urls(view), "books/1") is None


def test_a_model_that_is_not_cached_is_left_to_django(pk_of):
    from django.contrib.auth.models import Group

    view = with_(queryset=Group.objects.all())
    assert pk_of(book_urls(single(view)), "books/1") is None


def test_patterns_with_more_arguments_or_a_language_are_left_to_django(pk_of):
    assert pk_of([path("books/<pk>", single(), {"more": 1})], "books/1") is None
    assert pk_of([path("<shop>/<pk>", single())], "books/1") is None
    assert pk_of(i18n_patterns(path("books/<pk>", single())), "en-us/books/1") is None


def special(request, **kwargs):
    pass


@pytest.mark.parametrize(
    "earlier",
    [
        path("books/1", special),
        path("books/<int:number>", special),
        path("<path:anything>", special),
        re_path(r"^books/1", special),
        re_path(r"oks/1", special),
        re_path(r"^(?:books|shops)/1$", special),
    ],
)
def test_an_earlier_pattern_for_the_same_path_comes_first(pk_of, earlier):
    assert pk_of([earlier, *book_urls(single())], "books/1") is None
    assert pk_of([*book_urls(single()), earlier], "books/1") == 1


def test_an_earlier_pattern_for_other_paths_is_in_nobodys_way(pk_of):
    others = [path("books", special), path("books/1/edit", special), re_path("^shops/", special)]
    assert pk_of([*others, *book_urls(single())], "books/1") == 1


@pytest.mark.parametrize("exempt", [["^books/1$"]])
def test_paths_that_are_exempt_from_https_leave_all_to_django(pk_of, settings, exempt):
    settings.SECURE_SSL_REDIRECT, settings.SECURE_REDIRECT_EXEMPT = True, exempt
    assert pk_of(book_urls(single()), "books/1") is None


def own_middleware(get_response):
    return get_response


def vouched_middleware(get_response):
    return get_response


vouched_middleware.same_for_anonymous = True  # type: ignore[attr-defined]


def test_a_middleware_of_the_projects_own_must_vouch_for_itself(pk_of, settings):
    before = settings.MIDDLEWARE
    settings.MIDDLEWARE = [*before, f"{__name__}.own_middleware"]
    assert pk_of(book_urls(single()), "books/1") is None
    settings.MIDDLEWARE = [*before, f"{__name__}.vouched_middleware"]
    assert pk_of(book_urls(single()), "books/1") == 1
