"""Who sees a cached row, and which version of it: what the view decides, and nothing more."""

import json

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from rest_framework import serializers, viewsets
from rest_framework.test import APIRequestFactory

from cachelayer.checks import views as view_checks
from cachelayer.contrib.rest import CachedViewMixin, visibility
from cachelayer.redis import transport
from cachelayer.representation import serializer_context
from cachelayer.representation.serializer_context import Needs
from cachelayer.tests.twins import parts, views
from cachelayer.tests.twins.models import Report
from cachelayer.tests.twins.serializers import (
    GreetingSerializer,
    PageSerializer,
    ReportSerializer,
    UploadSerializer,
)
from cachelayer.tests.twins.urls import Urls

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def report(settings):
    """Its owner's only, and cached."""
    settings.ROOT_URLCONF = Urls(CachedViewMixin)
    owner = User.objects.create(username="owner")
    User.objects.create(username="staff", is_staff=True)
    report = Report.objects.create(owner=owner, title="secret", slug="one")
    assert transport.client().get(f"report:{report.pk}")
    return report


def get(view, report, user=None, suffix="/"):
    client = Client()
    if user:
        client.force_login(User.objects.get(username=user))
    return client.get(f"/{view}/{report.pk}{suffix}")


@pytest.mark.parametrize(
    ("view", "status"),
    [
        ("public_rows", 404),  # CASES.md B1: queryset
        ("own_rows", 404),  # get_queryset(); and B5: no queryset attribute
        ("owner_only", 401),  # has_object_permission()
        ("hidden_by_permission", 404),
        ("filter_backends", 404),
        ("filter_queryset", 404),
        ("check_object_permissions", 401),
        ("get_object", 404),
    ],
)
def test_a_cached_row_is_not_shown_to_whom_the_view_hides_it(report, view, status):
    answer = get(view, report)
    assert answer.status_code == status
    assert b"secret" not in answer.content
    assert "X-Cache" not in answer


@pytest.mark.parametrize("view", ["own_rows", "owner_only", "hidden_by_permission", "get_object"])
def test_whom_the_view_shows_it_gets_it_from_the_cache(report, view):
    answer = get(view, report, "owner")
    assert (answer.status_code, answer["X-Cache"]) == (200, "HIT")
    assert answer.json()["title"] == "secret"
    assert answer["Cache-Control"] == "private, no-cache"


def test_each_role_gets_its_own_fields(report):
    assert set(get("roles", report, "owner").json()) == {"id", "title"}
    staff = get("roles", report, "staff")
    assert "salary" in staff.json()
    assert staff["X-Cache"] == "HIT"


def test_a_format_may_be_named(report):
    answer = get("everything", report, suffix=".json")
    assert (answer.status_code, answer["X-Cache"]) == (200, "HIT")


def test_the_data_of_a_response_is_a_dictionary(report):
    answer = get("everything", report)
    assert answer.data["title"] == "secret"
    assert json.loads(json.dumps(answer.data)) == answer.json()
    assert answer["X-Cache"] == "HIT"


def test_what_is_changed_in_the_data_is_sent_and_has_no_etag(report):
    answer = get("wrapped_retrieve", report)
    assert answer.json()["title"] == "SECRET"
    assert "ETag" in get("everything", report)
    assert "ETag" not in answer


def test_another_form_of_the_row_has_not_its_etag(report):
    answer = Client().get(
        f"/everything/{report.pk}/", headers={"accept": "application/json; indent=2"}
    )
    assert (answer["X-Cache"], answer.json()["title"]) == ("HIT", "secret")
    assert b"\n" in answer.content
    assert "ETag" not in answer


def test_a_hit_costs_one_query_and_a_public_one_none(report):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert Client().get(f"/everything/{report.pk}/")["X-Cache"] == "HIT"
        assert len(asked) == 1
        assert '"title"' not in asked[0]["sql"]
        assert Client().get(f"/said_public/{report.pk}/")["X-Cache"] == "HIT"
        assert len(asked) == 1


def test_without_redis_a_read_costs_one_query(report, away):
    with CaptureQueriesContext(connection) as asked:
        answer = Client().get(f"/everything/{report.pk}/")
    assert (answer.status_code, answer["X-Cache"], len(asked)) == (200, "BYPASS", 1)
    assert answer["ETag"]


def after(monkeypatch, name, write, call=1):
    """Let *write* happen once, after the *call*-th call of a method of the mixin."""
    method, calls = getattr(CachedViewMixin, name), []

    def then_write(self, *args):
        try:
            return method(self, *args)
        finally:
            calls.append(name)
            if len(calls) == call:
                write()

    monkeypatch.setattr(CachedViewMixin, name, then_write)
    return calls


def change(report, **values):
    return lambda: Report.objects.filter(pk=report.pk).update(**values)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("view", ["public_rows", "slugs"])
def test_a_version_that_was_never_shown_is_not(report, monkeypatch, view, empty):
    """It is public when the view decides, and secret when its bytes are read."""
    change(report, is_public=True, title="open")()
    asked = report.slug if view == "slugs" else report.pk
    if empty:
        transport.client().delete(f"report:{report.pk}")
    calls = after(monkeypatch, "_decide", change(report, is_public=False, title="secret"))
    answer = Client().get(f"/{view}/{asked}/")
    assert calls
    assert b"secret" not in answer.content
    assert answer.status_code == 404


def test_a_version_that_was_not_shown_yet_is_not(report, monkeypatch):
    """Its bytes are read while it is secret, and it is public when the view decides."""
    calls = after(monkeypatch, "_fetch", change(report, is_public=True, title="open"))
    answer = get("public_rows", report)
    assert calls
    assert answer.json()["title"] == "open"


def test_an_old_snapshot_decides_about_its_own_version_only(report):
    change(report, is_public=True, title="open")()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1 FROM twins_report")
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("UPDATE twins_report SET is_public = false, title = 'secret'")
        other.close()
        transport.client().set(f"report:{report.pk}", b'{"title":"secret"}')
        answer = get("public_rows", report)
    assert answer.json()["title"] == "open"
    assert answer["X-Cache"] == "BYPASS"


def test_inside_a_transaction_a_row_is_a_hit(report):
    with transaction.atomic():
        assert get("everything", report)["X-Cache"] == "HIT"


@pytest.mark.parametrize(("user", "is_found"), [("owner", True), ("staff", False)])
def test_only_a_row_that_the_view_shows_is_locked_for_a_write(report, user, is_found):
    view = views.own_rows(CachedViewMixin)()
    view.request = APIRequestFactory().get("/")
    view.request.user = User.objects.get(username=user)
    with transaction.atomic():
        if is_found:
            assert view.locked(report.pk) == report
        else:
            with pytest.raises(Http404):
                view.locked(report.pk)


class Own(ReportSerializer):
    def to_internal_value(self, data):
        return {**super().to_internal_value(data), "owner": self.context["request"].user}


class OwnField(serializers.CharField):
    def to_representation(self, value):
        return self.context.get("view")


class WithOwnField(ReportSerializer):
    title = OwnField()


class Choosing(ReportSerializer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = kwargs.get("context", {}).get("request")


class OwnLink(serializers.HyperlinkedIdentityField):
    def get_url(self, obj, view_name, request, format):
        return self.reverse(view_name, kwargs={"slug": obj.slug}, request=request, format=format)


class PersonalLink(serializers.HyperlinkedIdentityField):
    def get_url(self, obj, view_name, request, format):
        return None if request.user.is_anonymous else super().get_url(obj, view_name, None, None)


class Linked(ReportSerializer):
    title = OwnLink(view_name="report-detail")


class LinkedForSome(ReportSerializer):
    title = PersonalLink(view_name="report-detail")


class Named(UploadSerializer):
    file = serializers.FileField(use_url=False)


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [
        (ReportSerializer, Needs.NOTHING),
        (Own, Needs.NOTHING),
        (GreetingSerializer, Needs.REQUEST),
        (WithOwnField, Needs.REQUEST),
        (Choosing, Needs.REQUEST),
        (PageSerializer, Needs.BASE_URL),
        (Linked, Needs.BASE_URL),
        (LinkedForSome, Needs.REQUEST),
        (UploadSerializer, Needs.BASE_URL),
        (Named, Needs.NOTHING),
        (dict, Needs.NOTHING),
    ],
)
def test_a_serializer_that_shows_more_than_the_row_is_known(serializer, expected):
    assert serializer_context.of(serializer) is expected


def problems(settings, *names, **initkwargs):
    urls = [
        path(f"{name}/<pk>", views.TWINS[name][0](CachedViewMixin).as_view({"get": "retrieve"}))
        for name in names
    ]
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": urls})()
    return [(problem.id, problem.msg) for problem in view_checks.check_views()]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ("said_public_but_filtered", "its queryset leaves rows out"),
        ("said_public_with_filters", "VisibleTo filters its rows"),
        ("said_public_by_title", "it looks rows up by title, which read_by of the registration"),
    ],
)
def test_e031_rows_that_are_said_to_be_public_and_are_not(settings, view, reason):
    [(problem, message)] = problems(settings, view)
    assert problem == "cachelayer.E031"
    assert reason in message


@pytest.mark.parametrize(
    "attributes",
    [
        {"get_queryset": lambda self: Report.objects.all()},
        {"get_object": lambda self: None},
        {"permission_classes": [parts.OwnerOnly]},
        {"permission_classes": [parts.OwnerOnly | parts.OwnerOrPublic]},
        {"queryset": Report.objects.all()[:2]},
        {"queryset": Report.objects.none()},
        {"queryset": Report.objects.filter(pk=1).union(Report.objects.filter(pk=2))},
        {"queryset": Report.objects.using("archive")},
    ],
)
def test_e031_has_more_reasons(attributes):
    bases = (CachedViewMixin, views.ReportViewSet)
    view = type("View", bases, {"rows_are_public": True, **attributes})
    assert visibility.not_public(view())
    assert visibility.not_public(type("View", bases, {"rows_are_public": True})()) is None


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ("short", "Report is registered with ReportSerializer, not with ShortReportSerializer"),
        ("get_serializer", "it overrides get_serializer()"),
        ("retrieve_of_a_base", "it answers with OwnBase.retrieve()"),
        ("greeting", "Report is registered with ReportSerializer, not with GreetingSerializer"),
        ("pages_of_versions", "PageSerializer shows URLs, and versioning_class changes them"),
        ("pages_in_own_context", "URLs, and the view overrides get_serializer_context()"),
        ("loose", "twins.Loose is not registered"),
        ("text_only", "neither JSONRenderer nor another renderer"),
    ],
)
def test_w031_a_view_that_is_never_cached(settings, view, reason):
    [(problem, message)] = problems(settings, view)
    assert problem == "cachelayer.W031"
    assert reason in message


def test_views_that_are_as_they_say_are_quiet(settings):
    assert problems(settings, "everything", "said_public", "public_rows", "own_rows", "roles") == []
    assert problems(settings, "said_public_with_search", "said_public_for_members") == []


def test_a_view_of_another_database_is_answered_as_without(report):
    bases = (CachedViewMixin, viewsets.ModelViewSet)
    view = type("View", bases, {"queryset": Report.objects.using("archive")})()
    assert not visibility.is_plain(view.queryset, visibility.cached_of(view))
