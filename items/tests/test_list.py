"""Pages of items, newest first."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from items import pagination
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def items():
    """25 items, every second one created in the same microsecond as the one before."""
    rows = [Item(name=f"Item {n}", price=Decimal(n)) for n in range(25)]
    Item.objects.bulk_create(rows)
    start = rows[0].created_at
    for n, row in enumerate(rows):
        Item.objects.filter(pk=row.pk).update(created_at=start + timedelta(microseconds=n // 2))
    return list(Item.objects.order_by("-created_at", "-id"))


def walk(api, path="/items"):
    """The pages from *path* on."""
    while path:
        page = api.get(path).json()
        yield page
        path = page["next"] and page["next"].removeprefix("http://testserver")


def ids(pages):
    return [item["id"] for page in pages for item in page["items"]]


def test_an_empty_list_is_one_empty_page(api):
    assert api.get("/items").json() == {"items": [], "count": 0, "next": None}


@pytest.mark.parametrize("limit", [1, 2, 7, 24, 25, 26, 100])
def test_the_pages_have_every_item_once_newest_first(api, items, limit):
    pages = list(walk(api, f"/items?limit={limit}"))
    assert ids(pages) == [str(item.pk) for item in items]
    assert all(page["count"] == len(page["items"]) <= limit for page in pages)
    assert len(pages) == -(-25 // limit)


def test_a_page_has_ten_items_unless_limit_says_otherwise(api, items):
    assert api.get("/items").json()["count"] == 10


def test_a_page_is_one_query_whatever_its_place_and_then_none(
    api, items, django_assert_num_queries
):
    following = api.get("/items?limit=5").json()["next"]
    for path in ("/items?limit=6", following):
        with django_assert_num_queries(1):
            assert api.get(path)["X-Cache"] == "MISS"
        with django_assert_num_queries(0):
            assert api.get(path)["X-Cache"] == "HIT"


def test_an_item_in_a_list_is_byte_for_byte_what_its_get_answers(api, items):
    body = api.get("/items?limit=25").content
    rows = [api.get(f"/items/{item.pk}").content for item in items]
    assert body == b'{"items":[' + b",".join(rows) + b'],"count":25,"next":null}'


def test_items_that_are_created_and_deleted_meanwhile_shift_no_page(api, items):
    pages = walk(api, "/items?limit=10")
    seen = [next(pages)]
    for n in range(5):
        api.post({"name": f"New {n}", "price": 1})
    api.delete(items[3])
    api.delete(items[9])  # The one that the cursor stands on.
    seen += list(pages)
    assert ids(seen) == [str(item.pk) for item in items]


def test_a_new_item_is_first_and_a_change_moves_nothing(api, items):
    new = api.post({"name": "New", "price": 1}).json()
    api.patch(items[-1], {"name": "Changed"})
    everything = api.get("/items?limit=100").json()["items"]
    assert everything[0] == new
    assert everything[-1]["name"] == "Changed"


def test_a_page_deep_among_rows_of_one_insert_reads_its_own_rows_only(api):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO items (name, price) SELECT 'row ' || n, 1 FROM generate_series(1, 5000) n"
        )
        cursor.execute("ANALYZE items")
        middle = Item.objects.order_by("-id")[2500]
        cursor.execute("SET enable_seqscan = off; SET enable_sort = off")
        with CaptureQueriesContext(connection) as queries:
            ids, _ = pagination.page(10, _cursor_of(middle))
        assert ids == list(Item.objects.order_by("-id").values_list("pk", flat=True)[2501:2511])
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {queries[0]['sql']}")
        plan = cursor.fetchone()[0][0]["Plan"]
        cursor.execute("RESET enable_seqscan; RESET enable_sort")
    assert plan["Plans"][0]["Node Type"] == "Index Only Scan"
    assert plan["Plans"][0].get("Rows Removed by Filter", 0) == 0


def _cursor_of(item):
    """As on a page whose last item is *item*."""
    return pagination._signer.sign_object([item.created_at.isoformat(), str(item.pk)])
