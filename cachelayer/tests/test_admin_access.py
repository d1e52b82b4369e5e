"""Who may see the cache page, and who may operate; nothing is reached past the permissions."""

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import NoReverseMatch, reverse

from cachelayer.admin import jobs
from cachelayer.models import Cache
from cachelayer.redis import transport
from cachelayer.tests.bookshop.models import Note
from cachelayer.tracking import triggers

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/cachelayer/cache/"
#: Every address, and what it needs.
VIEWS = [
    ("get", "", "view"),
    ("get", "stats.json", "view"),
    ("get", "clear/", "operate"),
    ("post", "clear/", "operate"),
    ("post", "clear-key/", "operate"),
    ("post", "start/", "operate"),
    ("get", "job/", "operate"),
    ("post", "job/", "operate"),
]


@pytest.fixture
def staff(django_user_model):
    """A client of somebody on the staff, with some of the permissions."""

    def make(*permissions, **changes):
        user = django_user_model.objects.create(username="pat", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        for name, value in changes.items():
            setattr(user, name, value)
        user.save()
        client = Client()
        client.force_login(user)
        return client

    return make


def ask(client, method, path):
    data = {"kind": "verify", "key": "note:1"} if method == "post" else None
    return getattr(client, method)(PAGE + path, data)


def test_every_address_is_in_this_test():
    ours = admin.site._registry[Cache].get_urls()
    assert {str(url.pattern) for url in ours} == {path for _, path, _ in VIEWS}


def test_its_migration_makes_no_table_and_runs_both_ways():
    try:
        for target in ("0001", "0002"):
            call_command("migrate", "cachelayer", target, verbosity=0)
            assert "cachelayer_cache" not in connection.introspection.table_names()
    finally:
        call_command("migrate", "cachelayer", verbosity=0)
    assert triggers.problems(connection) == []
    permissions = Permission.objects.filter(content_type__model="cache")
    assert set(permissions.values_list("codename", flat=True)) == {"view_cache", "operate_cache"}


@pytest.mark.parametrize("name", ["add", "change", "delete", "history"])
def test_there_is_no_page_for_a_table_that_does_not_exist(admin_client, name):
    with pytest.raises(NoReverseMatch):
        reverse(f"admin:cachelayer_cache_{name}", args=() if name == "add" else (1,))
    path = "add/" if name == "add" else f"1/{name}/"
    assert admin_client.get(PAGE + path).status_code == 404


@pytest.mark.parametrize(("method", "path", "needs"), VIEWS)
def test_anonymous_people_are_asked_to_log_in(client, method, path, needs):
    answer = ask(client, method, path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/?next=/admin/cachelayer/cache/")


@pytest.mark.parametrize(("method", "path", "needs"), VIEWS)
def test_somebody_who_is_not_on_the_staff_is_asked_to_log_in(staff, method, path, needs):
    client = staff("view_cache", "operate_cache", is_staff=False)
    assert ask(client, method, path)["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(("method", "path", "needs"), VIEWS)
def test_staff_without_a_permission_is_refused(staff, method, path, needs):
    assert ask(staff(), method, path).status_code == 403
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("method", "path", "needs"), VIEWS)
def test_who_may_look_may_not_operate(staff, method, path, needs):
    answer = ask(staff("view_cache"), method, path)
    assert (answer.status_code == 403) is (needs == "operate")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("method", "path", "needs"), VIEWS)
def test_who_may_operate_may_do_everything(staff, method, path, needs):
    assert ask(staff("operate_cache"), method, path).status_code in (200, 302)


def test_who_may_look_is_shown_no_buttons(staff):
    note = Note.objects.create()
    page = staff("view_cache").get(PAGE, {"key": f"note:{note.pk}"}).content.decode()
    assert f"<code>note:{note.pk}</code>" in page
    assert "Clear" not in page
    assert 'value="verify"' not in page


@pytest.mark.parametrize(("permission", "shown"), [("view_note", True), ("view_cache", False)])
def test_what_is_in_a_row_is_shown_to_those_who_may_view_it(staff, permission, shown):
    note = Note.objects.create(text="a secret")
    client = staff("view_cache", permission)
    for value in (None, b'{"text":"an old secret"}', b"secret"):
        if value:
            transport.client().set(f"note:{note.pk}", value)
        page = client.get(PAGE, {"key": f"note:{note.pk}"}).content.decode()
        assert ("secret" in page) is shown
        assert ("You may not view rows of this model" in page) is not shown


def test_the_page_is_in_the_index_of_those_who_may_see_it(staff):
    assert PAGE in staff("view_cache").get("/admin/").content.decode()


def test_it_is_not_in_the_index_of_others(staff):
    assert PAGE not in staff().get("/admin/").content.decode()


@pytest.mark.parametrize("path", ["clear/", "clear-key/", "start/", "job/"])
def test_nothing_is_done_without_a_csrf_token(admin_user, path, value):
    note = Note.objects.create()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    data = {
        "kind": "verify",
        "key": f"note:{note.pk}",
        "state": jobs.start("clear", admin_user).dump(),
    }
    assert client.post(PAGE + path, data).status_code == 403
    assert value(f"note:{note.pk}") is not None
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "start/"),
        ("get", "clear-key/"),
        ("post", ""),
        ("post", "stats.json"),
        ("put", "clear/"),
    ],
)
def test_another_method(admin_client, method, path):
    assert getattr(admin_client, method)(PAGE + path).status_code == 405


def test_a_get_changes_nothing(admin_client, value):
    note = Note.objects.create()
    assert admin_client.get(f"{PAGE}clear/").status_code == 200
    assert value(f"note:{note.pk}") is not None


class TestTheStateOfAJob:
    def test_of_somebody_else_is_refused(self, staff, admin_user, value):
        note = Note.objects.create()
        state = jobs.start("clear", admin_user).dump()
        answer = staff("operate_cache").post(f"{PAGE}job/", {"state": state}, follow=True)
        assert "Another user has started this job" in answer.content.decode()
        assert value(f"note:{note.pk}") is not None

    def test_that_was_changed_is_refused(self, admin_client, admin_user, value):
        note = Note.objects.create()
        state = jobs.start("clear", admin_user).dump()
        for forged in ("", "x", state[:-2], "x" + state):
            answer = admin_client.post(
                f"{PAGE}job/", {"state": forged}, headers={"Accept": "application/json"}
            )
            assert answer.status_code == 410
        assert value(f"note:{note.pk}") is not None

    def test_that_is_too_old_is_refused(self, admin_client, admin_user, monkeypatch):
        state = jobs.start("verify", admin_user).dump()
        monkeypatch.setattr(jobs, "LIFETIME", -1)
        answer = admin_client.get(f"{PAGE}job/", {"state": state}, follow=True)
        assert "too old" in answer.content.decode()
