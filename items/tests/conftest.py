"""Fixtures for tests that talk to the API as a client does.

Tests that write need real transactions: ``pytestmark =
pytest.mark.django_db(transaction=True)``.
"""

import threading
import time
from contextlib import contextmanager
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, connections
from django.test import Client

from cachelayer.redis import transport
from items.models import Item


class Api:
    """The items API, with JSON bodies."""

    def __init__(self, **defaults):
        self.client = Client(**defaults)

    def get(self, path, **kwargs):
        return self.client.get(path, **kwargs)

    def send(self, method, path, body, content_type="application/json", **kwargs):
        """*body*: bytes as they are, anything else as JSON."""
        if isinstance(body, bytes):
            return self.client.generic(method, path, body, content_type, **kwargs)
        return getattr(self.client, method.lower())(path, body, content_type, **kwargs)

    def post(self, body, **kwargs):
        return self.send("POST", "/items", body, **kwargs)

    def put(self, item, body, **kwargs):
        return self.send("PUT", f"/items/{item.pk}", body, **kwargs)

    def patch(self, item, body, **kwargs):
        return self.send("PATCH", f"/items/{item.pk}", body, **kwargs)

    def delete(self, item, **kwargs):
        return self.client.delete(f"/items/{item.pk}", **kwargs)


@pytest.fixture
def api():
    return Api()


@pytest.fixture
def item(db):
    return Item.objects.create(name="Tea", description="Green.", price=Decimal("4.50"))


@pytest.fixture
def cached():
    """What Redis holds under the key of an item."""
    return lambda item: transport.client().get(f"item:{item.pk}")


@pytest.fixture
def nothing_is_written(item):
    """Fail when a test has changed what is stored or cached, which is *item*."""
    before = _everything()
    yield
    assert _everything() == before
    assert len(before[0]) == len(before[1]) == 1


def _everything():
    keys = sorted(transport.client().keys("item:*"))
    return list(Item.objects.order_by("pk").values()), [
        (k, transport.client().get(k)) for k in keys
    ]


@pytest.fixture
def elsewhere():
    """A connection to the same database that Django does not know of, in a transaction."""
    settings = connection.settings_dict
    with psycopg.connect(
        dbname=settings["NAME"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        host=settings["HOST"],
        port=settings["PORT"],
    ) as other:
        yield other


@pytest.fixture
def in_thread():
    """Run a call in a thread with its own connection, beside the block; give its result after."""

    @contextmanager
    def run(call):
        outcome = []

        def target():
            try:
                outcome.append(call())
            finally:
                connections.close_all()

        thread = threading.Thread(target=target)
        thread.start()
        try:
            yield outcome
        finally:
            thread.join(30)
        assert outcome, "the call in the thread failed"

    return run


@pytest.fixture
def wait_until_blocked():
    """Return as soon as somebody waits for a lock that *other* holds: the process id."""

    def wait(other):
        query = (
            "SELECT pid FROM pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        deadline = time.monotonic() + 10
        while (found := other.execute(query).fetchone()) is None:
            assert time.monotonic() < deadline, "nobody waits for the lock"
            time.sleep(0.005)
        return found[0]

    return wait
