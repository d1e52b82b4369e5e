"""Gunicorn with each kind of worker: stops, restarts, and clients that are slow or gone."""

import os
import signal
import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import pytest

from itemsite.tests.running_site import HOT, running_site, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Seconds; gunicorn's ``graceful_timeout`` is ten.
PROMPT = 6.0


@pytest.fixture(scope="module", params=["asgi", "gthread"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def site(kind, tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEB_WORKER", kind)
        environment.setenv("OTEL_SDK_DISABLED", "true")
        with running_site(tmp_path_factory) as site:
            yield site


@pytest.fixture(autouse=True)
def _running(site):
    yield
    if not site.web.pid:
        site.web.start()


def connect(site):
    return socket.create_connection(("127.0.0.1", site.web.port), timeout=30)


def head_of(answer):
    return answer.partition(b"\r\n\r\n")[0].decode()


class Load:
    """Clients that keep their connections and ask one request after the other."""

    def __init__(self, site, clients=4):
        self._port, self._over = site.web.port, threading.Event()
        self.answered, self.lost = 0, []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 100)
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("GET", HOT)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                self.answered += 1
                self._over.wait(0.003)  # The two cores are the servers' as well.
            except (OSError, HTTPException, AssertionError) as error:
                self.lost.append(repr(error))
                connection.close()
        connection.close()


def test_a_reload_under_load_loses_no_request(site):
    with Load(site) as load:
        before = set(site.web.workers)
        os.kill(site.web.pid, signal.SIGHUP)
        until(lambda: len(site.web.workers) == 2 and not before & set(site.web.workers))
        answered = load.answered
        until(lambda: load.answered > answered + 100)
    assert load.lost == []


def test_workers_that_have_answered_enough_are_replaced_and_none_is_lost(site, monkeypatch):
    site.web.stop()
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--max-requests 300")
    site.web.start()
    before = set(site.web.workers)
    with Load(site) as load:
        until(lambda: len(site.web.workers) == 2 and not before & set(site.web.workers))
    assert load.lost == []
    monkeypatch.delenv("GUNICORN_CMD_ARGS")
    site.web.stop()


def test_a_client_that_asks_nothing_does_not_hold_up_a_stop(site):
    with closing(HTTPConnection("127.0.0.1", site.web.port, timeout=30)) as idle:
        idle.request("GET", HOT)
        idle.getresponse().read()
        began = time.monotonic()
        site.web.stop()
        assert time.monotonic() - began < PROMPT


def test_a_request_that_is_under_way_is_answered_before_a_stop(site):
    body = b'{"name": "Lamp", "price": 42.99}'
    with closing(connect(site)) as client:
        client.sendall(
            b"POST /items HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        client.sendall(body[:10])
        # The first answer of another connection: by now the worker has read the first part.
        assert site.get(HOT).status == 200
        stopping = threading.Thread(target=site.web.stop)
        stopping.start()
        client.sendall(body[10:])
        assert client.recv(65536).startswith(b"HTTP/1.1 201")
        stopping.join()


def test_slow_senders_hold_up_nobody(site, kind):
    """More of them than there are threads."""
    if kind == "gthread":
        pytest.skip("They do: each takes a thread. A proxy before it must read the requests first.")
    slow = [connect(site) for _ in range(20)]
    try:
        for client in slow:
            client.sendall(b"POST /items HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n")
        assert {site.get(HOT).status for _ in range(20)} == {200}
    finally:
        for client in slow:
            client.close()
    assert {site.get(HOT).status for _ in range(20)} == {200}


def test_a_client_that_has_gone_in_the_middle_costs_nothing(site):
    for part in (
        b"POST /items HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{",
        b"GET ",
    ):
        for _ in range(10):
            with closing(connect(site)) as client:
                client.sendall(part)
    assert {site.get(HOT).status for _ in range(20)} == {200}
    assert site.is_well()


def test_a_client_that_waits_for_100_is_told_to_go_on(site):
    body = b'{"name": "Lamp", "price": 42.99}'
    with closing(connect(site)) as client:
        client.sendall(
            b"POST /items HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_a_body_that_is_too_large_is_refused_with_a_sentence(site):
    answer = site.ask("POST", "/items", {"name": "x" * 300_000, "price": 1})
    assert answer.status in (400, 413)
    assert answer.json["detail"]
    assert site.get(HOT).status == 200


def test_a_large_file_reaches_a_slow_reader_whole(site):
    """A page's script, as whitenoise streams it."""
    path = "/static/admin/js/vendor/jquery/jquery.js"
    with closing(HTTPConnection("127.0.0.1", site.web.port, timeout=30)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        first = answer.read(100)
        assert {site.get(HOT).status for _ in range(20)} == {200}
        rest = answer.read()
        assert len(first + rest) == int(answer.headers["Content-Length"]) > 100_000


def test_head_and_304_have_no_body(site):
    tag = site.get(HOT).headers["etag"]
    with closing(connect(site)) as client:
        request = f"{{}} {HOT} HTTP/1.1\r\nHost: 127.0.0.1:{site.web.port}\r\n{{}}\r\n"
        for method, header, status in (
            ("HEAD", "", "200"),
            ("GET", f"If-None-Match: {tag}\r\n", "304"),
            ("HEAD", f"If-None-Match: {tag}\r\n", "304"),
        ):
            client.sendall(request.format(method, header).encode())
            answer = client.recv(65536)
            assert answer.endswith(b"\r\n\r\n")
            assert head_of(answer).startswith(f"HTTP/1.1 {status}")
            assert "hit" in head_of(answer).lower()
