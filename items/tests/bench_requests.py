"""What a whole request to the API costs, in one process, without a server and its sockets.

    ./lab test items/tests/bench_requests.py
    ./lab test */tests/bench_*.py               these, single operations, and Django's layers

A hit is asked for twice: of the site's WSGI application, which answers it below Django, and
of Django's handler under it. That Postgres keeps nothing (no fsync), so a write is cheaper
than on a server. What a server with clients makes of it is ``loadtest/bench``'s to measure.
"""

import io
import json
from contextlib import contextmanager
from decimal import Decimal

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import get_internal_wsgi_application
from django.core.signals import request_started
from django.test import RequestFactory

import cachelayer
from cachelayer.redis import transport
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)

#: Rounds of a request that cannot be made twice in a row: each is prepared.
ROUNDS = 300

READ = pytest.mark.benchmark(group="GET of an item, or of a page of them")
WRITE = pytest.mark.benchmark(group="PUT, POST")

BODY = json.dumps({"name": "Tea", "description": "Green. " * 20, "price": 4.5}).encode()


class Client:
    """One kind of request, made again and again of *application*."""

    def __init__(self, application, method, path, body=b""):
        self.application, self.body = application, body
        made = RequestFactory().generic(method, path, body, "application/json").environ
        self.environ = {**made, "HTTP_HOST": "127.0.0.1:8000", "HTTP_ACCEPT": "*/*"}

    def __call__(self):
        """Status, headers and body of one request."""
        # As from a server: the application may put into it what it likes.
        environ = {**self.environ, "wsgi.input": io.BytesIO(self.body)}
        said = []
        response = self.application(environ, lambda *args: said.append(args))
        body = b"".join(response)
        if hasattr(response, "close"):
            response.close()
        [(status, headers)] = said
        return int(status[:3]), dict(headers), body


@pytest.fixture(scope="module")
def site():
    """``settings.WSGI_APPLICATION``: what gunicorn serves."""
    return get_internal_wsgi_application()


@pytest.fixture(scope="module")
def django():
    return WSGIHandler()


@pytest.fixture
def item():
    return Item.objects.create(name="Tea", description="Green. " * 20, price=Decimal("4.50"))


@contextmanager
def requests_to_django():
    """The requests that reach Django's handler in the block."""
    seen = []

    def note(environ, **kwargs):
        seen.append(environ["PATH_INFO"])

    request_started.connect(note)
    try:
        yield seen
    finally:
        request_started.disconnect(note)


def assert_is(answer, item, outcome):
    status, headers, body = answer
    assert (status, headers["X-Cache"], body) == (200, outcome, cachelayer.render(item))


@READ
def test_hit_below_django(benchmark, site, item):
    get = Client(site, "GET", f"/items/{item.pk}")
    get()  # Goes through Django, which shows how such a request is answered.
    assert_is(benchmark(get), item, "HIT")
    with requests_to_django() as seen:
        get()
    assert seen == []


@READ
def test_hit_through_django(benchmark, django, item):
    assert_is(benchmark(Client(django, "GET", f"/items/{item.pk}")), item, "HIT")


@READ
def test_miss(benchmark, site, item):
    get = Client(site, "GET", f"/items/{item.pk}")

    def forget():
        transport.client().delete(f"item:{item.pk}")

    assert_is(benchmark.pedantic(get, setup=forget, rounds=ROUNDS, warmup_rounds=5), item, "MISS")


@READ
def test_page_of_50(benchmark, site):
    rows = [Item(name=f"Item {n}", description="Good. " * 20, price=n) for n in range(50)]
    for item in rows:
        item.save()
    status, _, body = benchmark(Client(site, "GET", "/items?limit=50"))
    assert status == 200
    assert json.loads(body)["items"] == [
        json.loads(cachelayer.render(item)) for item in Item.objects.all()
    ]


@WRITE
def test_put(benchmark, site, item):
    status, _, body = benchmark(Client(site, "PUT", f"/items/{item.pk}", BODY))
    assert status == 200
    item.refresh_from_db()
    assert body == cachelayer.render(item) == transport.client().get(f"item:{item.pk}")


@WRITE
def test_post(benchmark, site):
    status, _, body = benchmark(Client(site, "POST", "/items", BODY))
    assert status == 201
    assert transport.client().get(f"item:{json.loads(body)['id']}") == body
