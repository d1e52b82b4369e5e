"""What each call asks of Postgres, statement by statement: no more than it needs."""

import pytest
from django.urls import reverse

from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.sent import sent
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"name": "Tea", "price": 4.2}


@pytest.fixture
def item():
    return Item.objects.create(name="Lamp", price=1)


@pytest.fixture
def statements(client):
    """The statements of one call, each by its first word and what makes it a lock."""

    def ask(method, path, body=None):
        with sent() as texts:
            kwargs = {} if body is None else {"content_type": "application/json"}
            answer = getattr(client, method)(path, body, **kwargs)
        assert answer.status_code < 300, answer.content
        return [_name(text) for text in texts]

    return ask


def _name(sql):
    lock = " FOR UPDATE" if " FOR UPDATE" in sql else ""
    return sql.split()[0] + lock


def path_of(item):
    return reverse("item", args=[item.pk])


def test_a_hit_asks_nothing(item, statements):
    assert statements("get", path_of(item)) == []


def test_a_miss_asks_for_the_row(item, statements):
    empty_redis()
    assert statements("get", path_of(item)) == ["SELECT"]


def test_a_new_item_is_one_insert(statements):
    assert statements("post", reverse("items"), BODY) == ["INSERT", "COMMIT"]


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_change_locks_the_row_and_writes_it(method, item, statements):
    found = statements(method, path_of(item), BODY)
    assert found == ["SELECT FOR UPDATE", "UPDATE", "COMMIT"]


def test_a_delete_locks_the_row_and_deletes_it(item, statements):
    found = statements("delete", path_of(item))
    assert found == ["SELECT FOR UPDATE", "DELETE", "COMMIT"]


def test_a_page_whose_rows_are_cached_is_one_select(item, statements):
    assert statements("get", reverse("items")) == ["SELECT"]
