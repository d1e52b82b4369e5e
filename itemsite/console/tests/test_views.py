"""``/`` and what its page asks for: the lab's console, and a status page everywhere else."""

import re

import pytest
from django.test import Client

from itemsite.console import lab_switches

pytestmark = pytest.mark.django_db(transaction=True)

CONTROLS = [
    f"/console/faults/{name}" for name in (*lab_switches.SWITCHES, lab_switches.KILL_WORKER)
]
HERE = {"host": "localhost"}
ROW = "/console/race/550e8400-e29b-41d4-a716-446655440001"
LOOKS = ["/console/live", "/console/list", "/console/traces"]
ONLY_IN_THE_LAB = [*LOOKS, *CONTROLS, "/console/race", ROW]


@pytest.fixture
def no_lab(settings):
    settings.LAB = False


@pytest.fixture
def no_servers(monkeypatch, settings):
    """Neither Redis nor Postgres is there."""
    from django.db import connection

    default = settings.CACHES["default"]
    settings.CACHES = {"default": {**default, "LOCATION": "redis://127.0.0.1:1/0"}}
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", 1)
        yield


def test_the_lab_shows_the_console(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "console/main.js" in page.text


@pytest.mark.usefixtures("no_lab")
def test_outside_the_lab_it_is_a_status_page_with_nothing_to_press(client):
    page = client.get("/")
    assert page.status_code == 200
    assert re.findall(r"<dt>(.*?)</dt><dd class=\"good\">(.*?)</dd>", page.text) == [
        ("Postgres", "ok"),
        ("Redis", "ok"),
        ("Gate of this worker", "closed"),
    ]
    assert "/admin/" in page.text
    for control in ("<script", "<button", "<form", "csrf", "reason", "127.0.0.1"):
        assert control not in page.text


@pytest.mark.usefixtures("no_lab", "no_servers")
def test_the_status_page_says_what_is_away(client):
    page = client.get("/")
    assert page.status_code == 200
    assert 'class="bad">down<' in page.text
    assert "other reads and all writes wait for Postgres" in page.text


@pytest.mark.usefixtures("no_servers")
def test_the_console_and_its_numbers_come_without_redis_and_postgres(client):
    assert client.get("/").status_code == 200
    live = client.get("/console/live?fresh=1").json()
    assert (live["redis"], live["postgres"]) == ("down", "down")
    assert live["cached_items"] is live["repair"]["backlog"] is None
    assert client.get("/console/list").json() == {
        "redis": "down",
        "stored": False,
        "valid": False,
        "stamps": [],
    }


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ONLY_IN_THE_LAB)
def test_outside_the_lab_there_is_no_control(client, path, method):
    assert client.generic(method, path).status_code in (404, 405)
    allowed = "POST" if "faults" in path or path.endswith("race") else "GET"
    assert client.generic(allowed, path).status_code == 404


@pytest.mark.parametrize("host", ["lab.example", "127.0.0.1.evil.example:8000", "10.0.0.7"])
@pytest.mark.parametrize("path", ONLY_IN_THE_LAB)
def test_under_another_name_there_is_no_control(client, settings, path, host):
    settings.ALLOWED_HOSTS = ["*"]
    method = "POST" if "faults" in path or path.endswith("race") else "GET"
    assert client.generic(method, path, headers={"host": host}).status_code == 404
    assert "<script" not in client.get("/", headers={"host": host}).text


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_under_this_machines_names_it_is_there(client, host):
    assert client.get("/console/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", [*CONTROLS, "/console/race"])
def test_a_control_needs_post_and_a_csrf_token(path):
    strict = Client(enforce_csrf_checks=True, headers=HERE)
    assert strict.get(path).status_code == 405
    assert strict.post(path).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_races_writes_need_a_csrf_token(method):
    assert Client(enforce_csrf_checks=True, headers=HERE).generic(method, ROW).status_code == 403


def test_the_page_carries_the_token_that_its_controls_need():
    strict = Client(enforce_csrf_checks=True, headers=HERE)
    [token] = re.findall(r'"csrf": "(\w+)"', strict.get("/").text)
    answer = strict.post("/console/faults/stop-redis", headers={"X-CSRFToken": token})
    assert answer.status_code == 409
    # A page that is being closed can send a form only.
    form = {"csrfmiddlewaretoken": token}
    assert strict.post("/console/faults/start-redis", form).status_code == 409


def test_only_the_labs_own_redis_can_be_switched(client):
    for name, word in lab_switches.SWITCHES.items():
        answer = client.post(f"/console/faults/{name}")
        assert answer.status_code == 409
        assert answer.json()["detail"].endswith(f"docker compose {word} redis.")


def test_a_redis_of_ones_own_is_left_alone(client, monkeypatch):
    monkeypatch.setattr(lab_switches, "redis_place", lambda: "yours")
    answer = client.post("/console/faults/stop-redis")
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("Stop and start it yourself.")


def test_a_server_without_workers_says_so(client):
    answer = client.post("/console/faults/kill-worker")
    assert (answer.status_code, "./lab" in answer.json()["detail"]) == (409, True)


def test_an_unknown_fault_is_a_404(client):
    assert client.post("/console/faults/burn-it-down").status_code == 404


def test_the_numbers_are_those_of_the_cache(client):
    made = client.post("/items", {"name": "Tea", "price": 4.2}, "application/json").json()
    client.get(f"/items/{made['id']}")
    live = client.get("/console/live?fresh=1").json()
    assert (live["cached_items"], live["total_hits"]) == (1, 1)
    assert (live["redis"], live["postgres"], live["gates"]) == (
        "ok",
        "ok",
        {"workers": 1, "open": 0},
    )
    assert live["repair"]["backlog"] == 0
    assert live["redis_place"] == "compose"


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed(client):
    policy = client.get("/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", *LOOKS])
def test_what_is_looked_at_is_not_kept(client, path):
    assert client.get(path)["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", *LOOKS])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_is_to_be_read_can_only_be_read(client, path, method):
    assert client.generic(method, path).status_code == 405
