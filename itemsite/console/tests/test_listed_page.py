"""What the console says of the list's page: which stamp it was made under, and what is there."""

import pytest

from cachelayer.protocol import key_states
from cachelayer.redis import keyspace, transport
from cachelayer.tests.interleaving import start, stopped
from items.models import Item
from itemsite.console import listed_page

pytestmark = pytest.mark.django_db(transaction=True)

STAMP = "@items:*"


@pytest.fixture
def item():
    return Item.objects.create(name="Tea", price=4)


@pytest.fixture
def look(client):
    """The answer, and of its one stamp: what the page was made under, what is there, its state."""

    def look():
        found = client.get("/console/list").json()
        [stamp] = found["stamps"]
        assert (found["redis"], stamp["key"]) == ("ok", STAMP)
        return found, stamp["made"], stamp["now"], stamp["state"]

    return look


@pytest.fixture
def read(client):
    """Reads the list as the console does; its ``X-Cache``."""
    return lambda: client.get(listed_page.PATH)["X-Cache"]


def test_before_anybody_has_read_there_is_no_page(item, look):
    found, made, now, state = look()
    assert (found["stored"], found["valid"]) == (False, False)
    assert (made, now, state) == (None, None, "absent")


def test_a_page_is_valid_while_its_stamp_is_the_one_it_was_made_under(item, look, read):
    assert read() == "MISS"
    found, made, now, state = look()
    assert (found["stored"], found["valid"], state) == (True, True, "value")
    assert made == now
    assert made.startswith("v:")
    # Looking changes nothing.
    assert look() == (found, made, now, state)
    assert read() == "HIT"


@pytest.mark.parametrize("change", ["update", "create", "delete"])
def test_a_write_takes_the_stamp_away_and_leaves_the_page_as_it_is(item, look, read, change):
    read()
    _, made, *_ = look()
    {
        "update": lambda: Item.objects.filter(pk=item.pk).update(price=5),
        "create": lambda: Item.objects.create(name="Lamp", price=1),
        "delete": item.delete,
    }[change]()
    found, *stamp = look()
    assert (found["stored"], found["valid"]) == (True, False)
    assert stamp == [made, None, "absent"]
    assert read() == "MISS"
    found, renewed, now, _ = look()
    assert found["valid"]
    assert renewed == now != made
    assert read() == "HIT"


def test_a_page_that_another_page_has_outlived(item, client, look, read):
    """The next reader of any page of the table makes the new stamp."""
    read()
    Item.objects.filter(pk=item.pk).update(price=5)
    client.get("/items?limit=1")
    found, made, now, state = look()
    assert (found["stored"], found["valid"], state) == (True, False, "value")
    assert made != now


def test_while_a_writer_is_at_work_its_mark_stands_on_the_stamp(item, look, read):
    read()
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(Item.objects.filter(pk=item.pk).update, price=5)
        mark.reached()
        found, made, now, state = look()
        mark.release()
        writer.result()
    assert (found["stored"], found["valid"], state) == (True, False, "mark")
    assert made.startswith("v:")
    assert now.startswith("w:")


def test_it_is_the_page_of_the_name_that_the_visitor_uses(item, client, look, read):
    client.get(listed_page.PATH, headers={"host": "127.0.0.1"})
    assert not look()[0]["stored"]
    found = client.get("/console/list", headers={"host": "127.0.0.1"}).json()
    assert found["valid"]


def test_what_is_no_page_is_none(item, look, read):
    """A reader that is at it holds a lease."""
    read()
    [key] = [key.decode() for key in transport.client().keys(keyspace.of("item.page:*"))]
    transport.client().set(key, "r:0123456789abcdef")
    found, made, _, state = look()
    assert (found["stored"], made, state) == (False, None, "value")
