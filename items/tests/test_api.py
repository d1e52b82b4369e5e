"""One item through the API: created, read, changed, deleted; and what fails on the way."""

import json
import uuid
from datetime import datetime
from decimal import Decimal

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.http import UnreadablePostError
from django.utils import timezone

import cachelayer
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_created_item_is_a_hit_on_its_first_get(api):
    created = api.post({"name": "Tea", "description": "Green.", "price": 42.99})
    assert created.status_code == 201

    first = api.get(created["Location"].removeprefix("http://testserver"))

    assert first["X-Cache"] == "HIT"
    assert first.content == created.content
    assert first["ETag"] == created["ETag"]


def test_an_item_has_these_fields_and_no_other(api):
    body = api.post({"name": "Tea", "price": 42.99}).json()
    assert list(body) == ["id", "name", "description", "price", "created_at", "updated_at"]
    assert (body["name"], body["description"], body["price"]) == ("Tea", "", 42.99)
    assert uuid.UUID(body["id"]).version == 4
    assert datetime.fromisoformat(body["created_at"]).utcoffset().total_seconds() == 0


@pytest.mark.parametrize("price", ["0", "4", "4.5", "42.99", "1e2", "99999999.99", "-0.00"])
def test_a_price_goes_in_and_comes_out_as_the_same_number(api, price):
    created = api.post(b'{"name": "Tea", "price": %s}' % price.encode())
    assert created.status_code == 201
    assert isinstance(created.json()["price"], int | float)
    assert Decimal(str(created.json()["price"])) == Decimal(price)
    assert Item.objects.get().price == Decimal(price)


@pytest.mark.parametrize("price", ["4", "4.50", "-0.0", "1e2"])
def test_the_pushed_bytes_are_those_that_a_reader_loads(api, cached, price):
    api.post(b'{"name": "Tea", "price": %s}' % price.encode())
    item = Item.objects.get()
    assert cached(item) == cachelayer.render(item)


def test_text_is_kept_as_it_is_but_for_white_space_around_the_name(api):
    created = api.post({"name": "  Thé 🍵\n", "description": " <b>\r\n\t ' \\ \u2028 "})
    assert created.status_code == 400  # The price is missing.
    created = api.post({"name": "  Thé 🍵\n", "description": " <b>\r\n\t ' \\ \u2028 ", "price": 1})
    assert created.json()["name"] == "Thé 🍵"
    assert created.json()["description"] == " <b>\r\n\t ' \\ \u2028 "


def test_the_longest_name_and_description_are_stored(api):
    created = api.post({"name": "é" * 200, "description": "é" * 10_000, "price": 1})
    assert created.status_code == 201
    assert len(Item.objects.get().description) == 10_000


def test_unknown_and_read_only_fields_of_a_body_are_ignored(api, item):
    sent = {"id": str(uuid.uuid4()), "created_at": "1999-01-01T00:00:00Z", "colour": "red"}
    answer = api.put(item, {"name": "Tea", "price": 1, **sent})
    assert answer.status_code == 200
    assert answer.json()["id"] == str(item.pk)
    assert answer.json()["created_at"].startswith(str(item.created_at.year))
    assert "colour" not in answer.json()


def test_a_cold_row_is_a_miss_and_then_a_hit(api, item):
    call_command("cache_clear", yes=True)
    first, second = api.get(f"/items/{item.pk}"), api.get(f"/items/{item.pk}")
    assert (first["X-Cache"], second["X-Cache"]) == ("MISS", "HIT")
    assert first.content == second.content == cachelayer.render(item)


def test_a_hit_asks_nothing_of_postgres(api, item, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert api.get(f"/items/{item.pk}")["X-Cache"] == "HIT"


def test_a_hit_for_somebody_who_is_logged_in_asks_nothing_of_postgres(
    api, item, admin_user, django_assert_num_queries
):
    api.client.force_login(admin_user)
    with django_assert_num_queries(0):
        assert api.get(f"/items/{item.pk}")["X-Cache"] == "HIT"


def test_put_replaces_and_the_next_get_is_a_hit_with_the_new_row(api, item):
    put = api.put(item, {"name": "Coffee", "price": 5})
    assert put.status_code == 200
    assert (put.json()["name"], put.json()["description"]) == ("Coffee", "")
    get = api.get(f"/items/{item.pk}")
    assert get["X-Cache"] == "HIT"
    assert get.content == put.content


def test_patch_changes_what_is_sent_and_the_next_get_is_a_hit_with_it(api, item):
    patch = api.patch(item, {"price": 5})
    assert patch.status_code == 200
    assert (patch.json()["name"], patch.json()["description"]) == ("Tea", "Green.")
    assert patch.json()["updated_at"] > patch.json()["created_at"]
    get = api.get(f"/items/{item.pk}")
    assert get["X-Cache"] == "HIT"
    assert get.content == patch.content


def test_a_deleted_item_is_gone(api, item):
    deleted = api.delete(item)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert api.get(f"/items/{item.pk}").status_code == 404
    assert api.delete(item).status_code == 404


def test_head_has_the_headers_of_get_and_no_body(api, item):
    get, head = api.get(f"/items/{item.pk}"), api.client.head(f"/items/{item.pk}")
    assert head.content == b""
    assert (head.status_code, head["ETag"], head["X-Cache"]) == (200, get["ETag"], "HIT")


def test_every_answer_says_where_its_time_went(api, item):
    for answer in (api.get(f"/items/{item.pk}"), api.get("/items"), api.patch(item, {"price": 1})):
        assert answer["Server-Timing"].startswith("redis;dur=")
        assert ", postgres;dur=" in answer["Server-Timing"]


def test_an_id_in_upper_case_is_the_same_row_under_the_same_key(api, item):
    upper = f"/items/{str(item.pk).upper()}"
    assert api.get(upper)["X-Cache"] == "HIT"
    api.send("PATCH", upper, {"name": "Coffee"})
    assert api.get(f"/items/{item.pk}").json()["name"] == "Coffee"


def test_the_row_does_not_depend_on_the_time_zone_that_is_active(item):
    with timezone.override("Asia/Tokyo"):
        assert b"Z" in cachelayer.render(item)


def test_clients_that_do_not_ask_for_a_page_get_json(api, item):
    for accept in ("application/xml", "*/*", "application/json, text/html;q=0.5", "nonsense", ""):
        answer = api.get(f"/items/{item.pk}", headers={"accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize(
    "path",
    [
        "/items/4f1c1c2e-0b0e-4a53-9d3e-2a1b8f0f6f01",
        "/items/1",
        "/items/550e8400e29b41d4a716446655440001",
        "/items/{550e8400-e29b-41d4-a716-446655440001}",
        "/items/550e8400-e29b-41d4-a716-446655440001x",
        "/items/%00",
        "/items/",
        "/items/a/b",
        "/nothing",
        "/cache/nothing",
    ],
)
def test_what_is_not_there_is_a_404_in_json_for_every_method(api, path):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = api.send(method, path, b'{"name": "Tea", "price": 1}')
        assert answer.status_code == 404
        assert list(answer.json()) == ["detail"]
        assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/items", "GET, HEAD, POST"),
        ("OPTIONS", "/items", "GET, HEAD, POST"),
        ("POST", "/items/4f1c1c2e-0b0e-4a53-9d3e-2a1b8f0f6f01", "GET, HEAD, PUT, PATCH, DELETE"),
    ],
)
def test_a_method_that_is_not_there_is_a_405_that_names_those_that_are(api, method, path, allowed):
    answer = api.send(method, path, b"{}")
    assert (answer.status_code, answer["Allow"]) == (405, allowed)
    assert answer.json() == {"detail": f"{method} is not possible here. Use {allowed}."}


def test_a_row_that_the_database_refuses_is_a_409(api, item, nothing_is_written):
    connection.cursor().execute("ALTER TABLE items ADD CONSTRAINT no_milk CHECK (name <> 'Milk')")
    try:
        answers = [api.post({"name": "Milk", "price": 1}), api.patch(item, {"name": "Milk"})]
    finally:
        connection.cursor().execute("ALTER TABLE items DROP CONSTRAINT no_milk")
    for answer in answers:
        assert answer.status_code == 409
        assert answer.json()["detail"].startswith("The row goes against a rule")


def test_a_serialization_failure_is_a_409_that_says_to_repeat(
    api, item, elsewhere, in_thread, wait_until_blocked, monkeypatch
):
    monkeypatch.setitem(
        connection.settings_dict["OPTIONS"],
        "isolation_level",
        psycopg.IsolationLevel.REPEATABLE_READ,
    )
    elsewhere.execute("UPDATE items SET price = 9")
    with in_thread(lambda: api.patch(item, {"price": 5})) as answers:
        wait_until_blocked(elsewhere)
        elsewhere.commit()
    assert answers[0].status_code == 409
    assert answers[0].json() == {"detail": "Another write got in the way. Send the request again."}


def test_a_write_that_waits_too_long_for_a_lock_is_a_503(api, item, elsewhere, nothing_is_written):
    elsewhere.execute("SELECT FROM items FOR UPDATE")
    connection.cursor().execute("SET statement_timeout = '100ms'")
    try:
        answer = api.patch(item, {"price": 5})
    finally:
        connection.cursor().execute("RESET statement_timeout")
        elsewhere.rollback()
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert answer.json()["detail"].startswith("Postgres took too long")


@pytest.fixture
def no_postgres(monkeypatch):
    """New connections are refused, and there is no old one."""
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", 1)
        yield
    connection.close()


def test_without_postgres_hits_are_served_and_the_rest_is_a_503(api, item, cached, no_postgres):
    row = cached(item)
    hit = api.get(f"/items/{item.pk}")
    assert (hit.status_code, hit["X-Cache"]) == (200, "HIT")
    for answer in (
        api.get(f"/items/{uuid.uuid4()}"),
        api.get("/items"),
        api.post({"name": "Tea", "price": 1}),
        api.put(item, {"name": "Tea", "price": 1}),
        api.patch(item, {"price": 1}),
        api.delete(item),
    ):
        assert (answer.status_code, answer["Retry-After"]) == (503, "2")
        assert answer.json()["detail"].startswith("Postgres does not answer.")
    assert cached(item) == row


def test_a_connection_that_breaks_within_a_write_is_a_503_and_the_next_one_works(
    api, item, elsewhere, in_thread, wait_until_blocked
):
    elsewhere.execute("SELECT FROM items FOR UPDATE")
    with in_thread(lambda: api.patch(item, {"price": 5})) as answers:
        blocked = wait_until_blocked(elsewhere)
        elsewhere.execute("SELECT pg_terminate_backend(%s)", [blocked])
        elsewhere.rollback()
    assert answers[0].status_code == 503
    assert api.get(f"/items/{item.pk}").json()["price"] == 4.5
    assert api.patch(item, {"price": 5}).status_code == 200


def test_a_client_that_goes_away_while_it_sends_is_no_bug_of_ours(api, monkeypatch):
    def broken(*args):
        raise UnreadablePostError("connection reset")

    monkeypatch.setattr("django.http.request.HttpRequest.read", broken)
    assert api.post({"name": "Tea", "price": 1}).status_code == 400


def test_a_bug_is_a_500_in_json(api, monkeypatch):
    monkeypatch.setattr("items.pagination.page", lambda *args: 1 / 0)
    api.client.raise_request_exception = False
    answer = api.get("/items")
    assert answer.status_code == 500
    assert list(json.loads(answer.content)) == ["detail"]


def test_a_request_that_fails_leaves_nothing_measuring(api, item, monkeypatch):
    api.client.raise_request_exception = False
    monkeypatch.setattr("cachelayer.contrib.rest.mixin.read_one", lambda *args: 1 / 0)
    before = len(connection.execute_wrappers)
    assert api.client.get(f"/items/{item.pk}").status_code == 500
    assert len(connection.execute_wrappers) == before
