"""An idle connection is looked at before it is used; the server is asked when it has spoken."""

import select

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

pytestmark = pytest.mark.django_db(transaction=True)


def pid():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def terminate(backend):
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
    finally:
        other.close()
    poll = select.poll()
    poll.register(connection.connection.fileno(), select.POLLIN)
    assert poll.poll(20_000), "the server never said that it has ended the connection"


def begin_request():
    connection.health_check_enabled = True
    connection.health_check_done = False


def test_a_connection_that_is_alive_costs_no_round_trip(monkeypatch):
    before = pid()
    begin_request()
    monkeypatch.setattr(
        "django.db.backends.postgresql.base.DatabaseWrapper.is_usable",
        lambda self: pytest.fail("the server was asked"),
    )
    with CaptureQueriesContext(connection) as queries:
        assert pid() == before
    assert len(queries) == 1


def test_a_connection_that_the_server_has_ended_is_made_anew():
    before = pid()
    terminate(before)
    begin_request()
    assert pid() != before
