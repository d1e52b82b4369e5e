"""``/health``, ``/metrics`` and the URLs that are not there."""

import socket
import time

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from cachelayer.tests.polling import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def silent_port():
    """A port that takes connections and never says anything, like a paused server's."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(params=["silent_port", "closed_port"])
def bad_port(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def no_redis(settings, bad_port):
    default = settings.CACHES["default"]
    # Those of settings.py; settings_test.py is more patient.
    timeouts = {"SOCKET_CONNECT_TIMEOUT": 0.05, "SOCKET_TIMEOUT": 0.05}
    away = {
        "LOCATION": f"redis://127.0.0.1:{bad_port}/0",
        "OPTIONS": {**default["OPTIONS"], **timeouts},
    }
    settings.CACHES = {**settings.CACHES, "default": {**default, **away}}


@pytest.fixture
def no_postgres(monkeypatch, bad_port):
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", bad_port)
        yield


def ask(client):
    """The status and the body of /health."""
    answer = client.get("/health")
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body.pop("cache")) == {"gate", "repair"}
    return answer.status_code, body


def said(redis, postgres):
    return {
        "status": "ok" if redis == postgres == "ok" else "degraded",
        "service": "api",
        "dependencies": {"redis": redis, "postgres": postgres},
    }


def test_all_is_well(client):
    assert ask(client) == (200, said("ok", "ok"))


def test_it_shows_the_gate_and_the_repair_log(client):
    cache = client.get("/health").json()["cache"]
    assert cache["gate"]["state"] == "closed"
    assert cache["gate"].keys() == {"state", "since", "reason", "changes"}
    assert cache["repair"] == {"backlog": 0, "lag_seconds": 0}


@pytest.mark.usefixtures("no_redis")
def test_without_redis_it_says_since_when_and_why(client):
    def gate():
        return client.get("/health").json()["cache"]["gate"]

    until(lambda: gate()["state"] == "open")
    assert gate()["reason"]
    assert gate()["since"].endswith("+00:00")


@pytest.mark.usefixtures("no_postgres")
def test_without_postgres_nobody_knows_the_repair_log(client):
    assert client.get("/health").json()["cache"]["repair"] is None


@pytest.mark.usefixtures("no_redis")
def test_without_redis_it_is_degraded_and_still_200(client):
    start = time.monotonic()
    assert ask(client) == (200, said("down", "ok"))
    assert time.monotonic() - start < 3, "redis-py's own retries take 4 s and more"


@pytest.mark.usefixtures("no_postgres")
def test_without_postgres_it_is_a_503_in_good_time(client):
    start = time.monotonic()
    assert ask(client) == (503, said("ok", "down"))
    assert time.monotonic() - start < 15, "without connect_timeout it would wait for minutes"


@pytest.mark.usefixtures("no_redis", "no_postgres")
def test_without_both_it_still_answers(client):
    assert ask(client) == (503, said("down", "down"))


@pytest.mark.usefixtures("no_redis", "no_postgres")
def test_a_process_is_live_whatever_is_away_and_asks_nobody(client):
    connection.close()
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})
    assert answer["Cache-Control"] == "no-store"
    assert connection.connection is None


def test_it_is_well_again_as_soon_as_postgres_is(client, monkeypatch, closed_port):
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", closed_port)
        assert ask(client)[0] == 503
    assert ask(client) == (200, said("ok", "ok"))


def test_it_leaves_no_connection_behind(client):
    def count():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [database])
            return cursor.fetchone()[0]

    database = connection.settings_dict["NAME"]
    before = count()
    for _ in range(10):
        ask(client)
    deadline = time.monotonic() + 5
    while count() > before:  # A backend takes a moment to end.
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metrics_are_prometheus_text(client):
    client.get("/items")
    answer = client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain")
    assert b"django_http_requests_total_by_view_transport_method_total" in answer.content


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_they_can_only_be_read(path, method):
    answer = Client(enforce_csrf_checks=True).generic(method, path)
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert answer.json() == {"detail": f"{method} is not possible here. Use GET, HEAD."}


@pytest.mark.parametrize("path", ["/healthz", "/health/", "/metrics/", "/Items", "/a/b?c=d"])
def test_what_is_not_there_is_a_404_in_json(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("There is nothing at /")


def test_a_host_that_is_not_allowed_is_a_400_in_json(client):
    answer = client.get("/items", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.json()["detail"]


def test_the_project_passes_its_own_checks():
    call_command("check", databases=["default"], fail_level="WARNING")
