"""The admin of items: its pages open and save, and what it writes is written through."""

import re
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

import cachelayer
from cachelayer.redis import transport
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)

CHANGELIST = "/admin/items/item/"


def change_url(item):
    return reverse("admin:items_item_change", args=[item.pk])


@pytest.fixture
def others():
    return Item.objects.bulk_create(Item(name=f"Other {n}", price=Decimal(10)) for n in range(3))


def is_hit_with_the_stored_row(api, item):
    get = api.get(f"/items/{item.pk}")
    stored = cachelayer.render(Item.objects.get(pk=item.pk))
    return get["X-Cache"] == "HIT" and get.content == stored


def act(admin_client, action, items, **more):
    body = {"action": action, "_selected_action": [str(item.pk) for item in items], **more}
    return admin_client.post(CHANGELIST, body, follow=True)


def message(page):
    (only,) = page.context["messages"]
    return str(only)


def test_its_pages_open(admin_client, item):
    for path in (
        "/admin/",
        CHANGELIST,
        f"{CHANGELIST}?created_at__year={item.created_at.year}",
        f"{CHANGELIST}add/",
        change_url(item),
        reverse("admin:items_item_history", args=[item.pk]),
        reverse("admin:items_item_delete", args=[item.pk]),
    ):
        assert admin_client.get(path).status_code == 200, path


def test_it_asks_for_a_login(client, item):
    for path in ("/admin/", CHANGELIST, change_url(item)):
        answer = client.get(path)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("words", ["Tea", "green", "id"])
def test_a_search_finds_by_name_description_and_id(admin_client, item, others, words):
    words = str(item.pk) if words == "id" else words
    page = admin_client.get(CHANGELIST, query_params={"q": words})
    assert list(page.context["cl"].queryset) == [item]


def test_a_search_for_nonsense_finds_nothing_and_opens(admin_client, item):
    page = admin_client.get(CHANGELIST, query_params={"q": "'; -- %"})
    assert list(page.context["cl"].queryset) == []


def test_an_edit_is_a_hit_at_once(admin_client, api, item):
    body = {"name": "Coffee", "description": "", "price": "5.5"}
    assert admin_client.post(change_url(item), body).status_code == 302
    assert is_hit_with_the_stored_row(api, item)
    assert api.get(f"/items/{item.pk}").json()["price"] == 5.5


def test_an_added_item_is_a_hit_at_once(admin_client, api):
    body = {"name": "Coffee", "description": "Black.", "price": "3"}
    assert admin_client.post(f"{CHANGELIST}add/", body).status_code == 302
    assert is_hit_with_the_stored_row(api, Item.objects.get())


@pytest.mark.parametrize(
    "wrong", [{"name": " "}, {"name": "x" * 201}, {"price": "-1"}, {"price": "1.005"},
              {"price": "NaN"}, {"price": "1e400"}, {"price": "100000000"}, {"name": "T\x00ea"}],
)  # fmt: skip
def test_a_wrong_value_is_shown_and_nothing_is_stored(
    admin_client, item, nothing_is_written, wrong
):
    body = {"name": "Coffee", "description": "", "price": "1", **wrong}
    answer = admin_client.post(change_url(item), body)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == list(wrong)


def test_a_deleted_item_is_gone_from_the_api(admin_client, api, item):
    delete = reverse("admin:items_item_delete", args=[item.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert api.get(f"/items/{item.pk}").status_code == 404


def test_items_deleted_in_bulk_are_gone_from_the_api(admin_client, api, item, others):
    assert act(admin_client, "delete_selected", others).status_code == 200  # Asks whether.
    act(admin_client, "delete_selected", others, post="yes")
    assert [api.get(f"/items/{other.pk}").status_code for other in others] == [404] * 3
    assert is_hit_with_the_stored_row(api, item)


@pytest.mark.parametrize(
    ("action", "prices"), [("raise_price", {4.95, 11.0}), ("lower_price", {4.05, 9.0})]
)
def test_a_changed_price_of_many_items_is_a_hit_at_once(
    admin_client, api, item, others, action, prices
):
    page = act(admin_client, action, [item, *others[1:]])
    assert message(page) == "The prices of 3 items were changed."
    changed = [api.get(f"/items/{i.pk}").json() for i in (item, *others[1:])]
    assert {row["price"] for row in changed} == prices
    assert all(row["updated_at"] > row["created_at"] for row in changed)
    assert api.get(f"/items/{others[0].pk}").json()["price"] == 10
    assert all(is_hit_with_the_stored_row(api, i) for i in (item, *others))


def test_a_price_that_would_become_too_high_changes_none(admin_client, api, item, others):
    Item.objects.filter(pk=item.pk).update(price=Decimal("99999999.99"))
    page = act(admin_client, "raise_price", [item, *others])
    assert message(page) == "No price was changed: one of them would become too high."
    assert all(api.get(f"/items/{other.pk}").json()["price"] == 10 for other in others)
    assert all(is_hit_with_the_stored_row(api, i) for i in (item, *others))


def test_the_names_of_the_actions_read_well(admin_client, item):
    page = admin_client.get(CHANGELIST).content.decode()
    assert "Raise the price by 10 %<" in page
    assert "Lower the price by 10 %<" in page


def test_an_unknown_admin_page_is_a_page_and_not_json(admin_client):
    answer = admin_client.get("/admin/nothing/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_the_admin_is_found_without_its_slash(client):
    assert client.get("/admin")["Location"] == "/admin/"


class TestPanel:
    """What the cache holds of the row, on its change page."""

    def text(self, client, item):
        html = client.get(change_url(item)).content.decode()
        [panel] = re.findall(r'<span class="cache-panel">(.*?)</span>\s*</div>', html, re.S)
        return " ".join(re.sub(r"<[^>]*>", " ", panel).split())

    def test_of_a_cached_row(self, admin_client, item):
        text = self.text(admin_client, item)
        assert text.startswith(f"item:{item.pk} row for another ")
        assert "the same bytes as the database row" in text

    def test_of_a_row_that_is_not_cached(self, admin_client, item):
        transport.client().delete(f"item:{item.pk}")
        assert "absent the next read loads it" in self.text(admin_client, item)

    def test_of_a_row_that_differs(self, admin_client, item):
        transport.client().set(f"item:{item.pk}", b'{"name":"Old"}')
        assert "differs from the database row" in self.text(admin_client, item)

    def test_while_redis_is_away(self, admin_client, item, own_redis):
        own_redis.stop()
        assert "unknown Redis does not answer" in self.text(admin_client, item)

    def test_the_page_of_a_new_item_has_none(self, admin_client):
        assert "cache-panel" not in admin_client.get(f"{CHANGELIST}add/").content.decode()

    @pytest.mark.parametrize(("permission", "links"), [("view_item", False), ("view_cache", True)])
    def test_it_links_to_the_cache_page_for_those_who_may_see_it(
        self, item, django_user_model, permission, links
    ):
        user = django_user_model.objects.create(username="pat", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=["view_item", permission]))
        client = Client()
        client.force_login(user)
        assert ("Look it up" in self.text(client, item)) is links
