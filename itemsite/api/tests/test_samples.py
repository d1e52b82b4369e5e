"""``manage.py load_samples``"""

import pytest
from django.core.management import call_command

from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)

IDS = [f"550e8400-e29b-41d4-a716-44665544000{n}" for n in range(1, 6)]


def load(capsys):
    call_command("load_samples")
    return capsys.readouterr().out


def test_five_items_are_made_once_and_listed_in_order(api, capsys):
    assert load(capsys) == "Sample items: 5 created, 0 there already.\n"
    assert load(capsys) == "Sample items: 0 created, 5 there already.\n"
    assert [item["id"] for item in api.get("/items").json()["items"]] == IDS


def test_each_sample_is_a_hit_on_its_first_get(api, capsys):
    load(capsys)
    assert [api.get(f"/items/{pk}")["X-Cache"] for pk in IDS] == ["HIT"] * 5


def test_an_edited_sample_stays_and_a_deleted_one_comes_back(api, capsys):
    load(capsys)
    api.send("PATCH", f"/items/{IDS[0]}", {"name": "Mine"})
    api.client.delete(f"/items/{IDS[1]}")
    assert load(capsys) == "Sample items: 1 created, 4 there already.\n"
    assert Item.objects.get(pk=IDS[0]).name == "Mine"
    assert api.get(f"/items/{IDS[1]}").status_code == 200
