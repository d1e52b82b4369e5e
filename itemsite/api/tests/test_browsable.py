"""A person who opens the API in a browser gets a page; programs never do."""

import html

import pytest
from django.db import connection

import cachelayer
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)

#: As Firefox and Chromium send it.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def look(api, path, **kwargs):
    answer = api.get(path, headers={"accept": BROWSER, **kwargs})
    return answer, html.unescape(answer.content.decode())


def test_a_browser_gets_the_row_as_a_page_with_the_same_x_cache(api, item):
    answer, page = look(api, f"/items/{item.pk}")
    assert (answer.status_code, answer["X-Cache"]) == (200, "HIT")
    assert answer["Content-Type"].startswith("text/html")
    assert answer["Server-Timing"]
    assert f'"id": "{item.pk}"' in page
    assert '"price": 4.5' in page
    assert "<h1>Item</h1>" in page


def test_a_browser_gets_the_list_as_a_page(api, item):
    answer, page = look(api, "/items?limit=5")
    assert answer["Content-Type"].startswith("text/html")
    assert str(item.pk) in page
    assert '"count": 1' in page


def test_a_page_is_no_copy_of_the_row(api, item):
    row = api.get(f"/items/{item.pk}")
    page, _ = look(api, f"/items/{item.pk}")
    assert "ETag" not in page
    assert page["Cache-Control"] == row["Cache-Control"] == "no-cache"
    assert "Accept" in page["Vary"]
    assert "Accept" in row["Vary"]
    answer, _ = look(api, f"/items/{item.pk}", **{"if-none-match": row["ETag"]})
    assert (answer.status_code, answer.content) == (304, b"")


def test_programs_get_the_bytes_of_the_row(api, item):
    for accept in ("*/*", "application/json"):
        answer = api.get(f"/items/{item.pk}", headers={"accept": accept})
        assert answer.content == cachelayer.render(Item.objects.get())
        assert answer["Content-Type"] == "application/json"


def test_the_page_can_be_asked_for_json(api, item):
    answer, _ = look(api, f"/items/{item.pk}?format=json")
    assert answer["Content-Type"] == "application/json"
    answer, _ = look(api, f"/items/{item.pk}?format=nonsense")
    assert answer["Content-Type"] == "application/json"


def test_an_error_is_a_page_for_a_browser_and_json_for_a_program(api, item):
    path = f"/items/{item.pk}"[:-12] + "0" * 12
    answer, page = look(api, path)
    assert answer.status_code == 404
    assert "There is no such item." in page
    assert api.get(path).json()["detail"].startswith("There is no such item.")


def test_a_view_without_forms_answers_a_browser_in_json(api):
    answer, _ = look(api, "/cache/stats")
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("lab", [True, False])
def test_the_login_is_offered_outside_the_lab(settings, api, item, lab):
    settings.LAB = lab
    _, page = look(api, f"/items/{item.pk}")
    assert ("/api/auth/login/?next=" in page) is not lab
    # Forms are for those who may use them.
    assert ('data-method="PUT"' in page) is lab


def test_who_is_logged_in_gets_forms_with_the_rows_values(settings, api, item, admin_user):
    settings.LAB = False
    api.client.force_login(admin_user)
    _, page = look(api, f"/items/{item.pk}")
    assert 'data-method="PUT"' in page
    assert '"description": "Green."' in page.partition("<form")[2]
    assert "/api/auth/logout/" in page


def test_a_page_of_a_hit_needs_no_postgres(settings, api, item, admin_user, monkeypatch):
    settings.LAB = False
    api.client.force_login(admin_user)
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", 1)
        answer, page = look(api, f"/items/{item.pk}")
        assert (answer.status_code, answer["X-Cache"]) == (200, "HIT")
        assert str(item.pk) in page
    connection.close()


def test_an_item_is_changed_on_the_page(page, live_server, settings):
    settings.LAB = True
    item = Item.objects.create(name="Tea", price=1)
    page.goto(f"{live_server.url}/items/{item.pk}")
    page.fill("textarea[name=_content]", '{"name": "Coffee", "price": 2.5}')
    page.get_by_role("button", name="PUT").click()
    page.wait_for_selector("text=Coffee")
    assert Item.objects.get().name == "Coffee"


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_the_page_fits_a_phone(page, live_server, color_scheme):
    Item.objects.create(name="Tea", price=1)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{live_server.url}/items")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
