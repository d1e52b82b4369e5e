"""If-None-Match and If-Match; If-Match holds until the COMMIT of its write."""

import threading

import pytest
from django.db import connections

import cachelayer
from items.models import Item

from .conftest import Api

pytestmark = pytest.mark.django_db(transaction=True)


def etag(item):
    return cachelayer.etag(cachelayer.render(Item.objects.get(pk=item.pk)))


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_a_row_that_the_client_has_already_is_a_304_without_a_body(api, item, form):
    tag = form.format(etag(item))
    answer = api.get(f"/items/{item.pk}", headers={"if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == etag(item)


def test_a_row_that_has_changed_is_sent(api, item):
    old = etag(item)
    api.patch(item, {"price": 5})
    answer = api.get(f"/items/{item.pk}", headers={"if-none-match": old})
    assert (answer.status_code, answer.json()["price"]) == (200, 5)
    assert answer["ETag"] != old


def write(api, method, item, tag):
    body = {"name": "Changed", "price": 5}
    path, headers = f"/items/{item.pk}", {"if-match": tag}
    if method == "DELETE":
        return api.client.delete(path, headers=headers)
    return api.send(method, path, body, headers=headers)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("form", ["{}", '"other", {}', "*"])
def test_a_write_goes_through_while_if_match_holds(api, item, method, form):
    assert write(api, method, item, form.format(etag(item))).status_code in (200, 204)
    assert not Item.objects.filter(name="Tea").exists()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("form", ['"other"', "W/{}"])
def test_a_write_is_a_412_when_if_match_does_not_hold(api, item, method, form, nothing_is_written):
    answer = write(api, method, item, form.format(etag(item)))
    assert answer.status_code == 412
    assert answer.json()["detail"].startswith("The row has changed")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_if_match_on_a_row_that_is_not_there_is_a_404(api, item, method):
    item.delete()
    item.pk = "550e8400-e29b-41d4-a716-446655449999"
    assert write(api, method, item, "*").status_code == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_write_that_commits_before_ours_has_the_lock_makes_if_match_fail(
    item, method, elsewhere, in_thread, wait_until_blocked
):
    old = etag(item)
    elsewhere.execute("UPDATE items SET name = 'Theirs'")
    with in_thread(lambda: write(Api(), method, item, old)) as answers:
        # Whatever ours reads without the lock is still the row that it names.
        wait_until_blocked(elsewhere)
        elsewhere.commit()
    assert answers[0].status_code == 412
    assert Item.objects.get().name == "Theirs"


def test_of_two_writes_with_the_same_etag_one_goes_through(item):
    old, start, answers = etag(item), threading.Barrier(2), []

    def change(name):
        try:
            start.wait(10)
            body, headers = {"name": name}, {"if-match": old}
            answers.append(Api().patch(item, body, headers=headers).status_code)
        finally:
            connections.close_all()

    for _ in range(10):
        old = etag(item)
        threads = [threading.Thread(target=change, args=[name]) for name in ("One", "Two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == [200, 412]
        answers.clear()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("nothing", ["unquoted", "", " "])
def test_an_if_match_that_names_nothing_is_no_blind_write(
    api, item, method, nothing, nothing_is_written
):
    answer = write(api, method, item, nothing)
    assert answer.status_code == 400
    assert "quotes" in answer.json()["detail"]
