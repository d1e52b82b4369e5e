"""Outside the lab's open mode, reading is free and writing needs a token or a session."""

import pytest
from rest_framework.authtoken.models import Token
from rest_framework.throttling import ScopedRateThrottle

from items.models import Item

from .conftest import Api

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _not_the_lab(settings):
    settings.LAB = False


@pytest.fixture
def writer(django_user_model):
    return django_user_model.objects.create_user("writer", password="secret")


def write_all(api, item):
    """The status of every kind of write."""
    return [
        api.post({"name": "New", "price": 1}).status_code,
        api.put(item, {"name": "New", "price": 1}).status_code,
        api.patch(item, {"price": 2}).status_code,
        api.delete(item).status_code,
    ]


def test_a_write_by_nobody_is_a_401_in_json(api, item, nothing_is_written):
    assert write_all(api, item) == [401] * 4
    answer = api.post({"name": "New", "price": 1})
    assert answer["WWW-Authenticate"] == "Token"
    assert answer.json()["detail"].startswith("Writing needs a login.")


def test_nobody_learns_from_a_write_whether_its_body_or_its_item_is_good(api, item):
    assert api.post(b"{").status_code == 401
    item.pk = "550e8400-e29b-41d4-a716-446655449999"
    assert api.delete(item).status_code == 401


def test_a_read_needs_no_login(api, item):
    assert api.get(f"/items/{item.pk}").status_code == 200
    assert api.get("/items").status_code == 200
    assert api.get("/health").status_code == 200


def test_a_token_may_write(item, writer):
    token = Token.objects.create(user=writer)
    api = Api(HTTP_AUTHORIZATION=f"Token {token.key}")
    assert write_all(api, item) == [201, 200, 200, 204]


def test_a_wrong_token_is_a_401(item, nothing_is_written):
    assert write_all(Api(HTTP_AUTHORIZATION="Token wrong"), item) == [401] * 4


def test_a_session_may_write_with_its_csrf_token_only(item, writer):
    api = Api(enforce_csrf_checks=True)
    api.client.force_login(writer)
    assert write_all(api, item) == [403] * 4
    assert Item.objects.get().name == "Tea"

    api.client.cookies["csrftoken"] = "x" * 32
    api.client.defaults["HTTP_X_CSRFTOKEN"] = "x" * 32
    assert write_all(api, item) == [201, 200, 200, 204]


def test_the_lab_lets_everybody_write_also_with_a_session_and_no_csrf_token(settings, item, writer):
    settings.LAB = True
    api = Api(enforce_csrf_checks=True)
    api.client.force_login(writer)
    assert write_all(api, item) == [201, 200, 200, 204]


def test_each_user_has_a_separate_rate(monkeypatch, item, writer, admin_user):
    monkeypatch.setattr(ScopedRateThrottle, "THROTTLE_RATES", {"write": "1/day"})
    statuses = []
    for user in (writer, writer, admin_user):
        api = Api()
        api.client.force_login(user)
        statuses.append(api.patch(item, {"price": 1}).status_code)
    assert statuses == [200, 429, 200]


def test_a_method_that_is_not_there_is_a_405_for_everybody(api, item):
    for path in (f"/items/{item.pk}", "/cache/stats"):
        assert api.send("POST", path, {}).status_code == 405
    assert api.client.delete("/items").status_code == 405


def test_clearing_the_cache_needs_a_login_too(api, item):
    assert api.client.post("/cache/clear").status_code == 401
    assert api.client.get("/cache/stats").status_code == 200
