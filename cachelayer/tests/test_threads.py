"""A WSGI application under an ASGI server: bodies, streams, slow and vanished clients, failures."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cachelayer.contrib.threads import SMALL, InThreads, Threads, environ_of
from cachelayer.tests.loop import Loop
from cachelayer.tests.polling import until

LENGTH = ("Content-Length", "5")


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    thread = threading.Thread(target=loop.loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.loop.call_soon_threadsafe(loop.loop.stop)
    thread.join()
    loop.loop.close()


class Client:
    """One request: what it sends, message by message, and what it has got."""

    def __init__(self, *parts, method="POST", headers=()):
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/",
            "query_string": b"",
            "headers": list(headers),
        }
        self.messages = [{"type": "http.request", "body": p, "more_body": True} for p in parts]
        if self.messages:
            self.messages[-1]["more_body"] = False
        self.got = []
        #: Takes the answer only while it is set.
        self.takes = threading.Event()
        self.takes.set()
        self.is_gone = threading.Event()

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        while not self.is_gone.is_set():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(self, message):
        while not self.takes.is_set():
            await asyncio.sleep(0.01)
        self.got.append(message)

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.got[1:])


@pytest.fixture
def serve(loop):
    """Begin to answer a client by an application; the future ends when that is done."""
    made = []

    def serve(application, client, threads=None):
        threads = threads or Threads(2)
        made.append(threads)
        served = InThreads(application, threads)
        coroutine = served(client.scope, client.receive, client.send)
        return asyncio.run_coroutine_threadsafe(coroutine, loop.loop)

    yield serve
    for threads in made:
        threads._pool.shutdown()


def answering(*parts, headers=(LENGTH,)):
    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return [*parts]

    return application


def test_the_environment_is_that_of_a_wsgi_server():
    scope = Client().scope | {
        "path": "/shop/käse",
        "raw_path": b"/shop/k%C3%A4se",
        "root_path": "/shop",
        "query_string": b"a=%20b",
        "scheme": "https",
        "server": ("example.org", 443),
        "client": ("10.0.0.1", 4711),
        "headers": [
            (b"content-type", b"text/plain"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"x-many", b"1"),
            (b"x-many", b"2"),
        ],
    }
    environ = environ_of(scope)
    assert environ["SCRIPT_NAME"] == "/shop"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/käse"
    assert (environ["QUERY_STRING"], environ["wsgi.url_scheme"]) == ("a=%20b", "https")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("example.org", "443")
    assert (environ["REMOTE_ADDR"], environ["CONTENT_TYPE"]) == ("10.0.0.1", "text/plain")
    assert (environ["HTTP_COOKIE"], environ["HTTP_X_MANY"]) == ("a=1; b=2", "1,2")


def test_a_name_with_an_underscore_is_not_taken_for_one_with_a_hyphen():
    """A proxy that sets X-Real-Ip lets x_real-ip through: as Django, this ignores it."""
    headers = [(b"x-real-ip", b"10.0.0.1"), (b"x_real-ip", b"6.6.6.6"), (b"content_length", b"5")]
    environ = environ_of(Client(headers=headers).scope)
    assert environ["HTTP_X_REAL_IP"] == "10.0.0.1"
    assert not {"CONTENT_LENGTH", "HTTP_CONTENT_LENGTH"} & environ.keys()


def test_a_whole_answer_is_two_messages(serve):
    client = Client(method="GET")
    serve(answering(b"hello"), client).result(30)
    start, body = client.got
    assert (start["status"], start["headers"]) == (200, [(b"content-length", b"5")])
    assert body == {"type": "http.response.body", "body": b"hello"}


def test_the_answer_to_head_has_no_body(serve):
    client = Client(method="HEAD")
    serve(answering(b"hello"), client).result(30)
    assert (client.got[0]["status"], client.body) == (200, b"")


def reading(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 1, 10 * SMALL])
def test_the_body_comes_whole(serve, size):
    sent = bytes(i % 251 for i in range(size))
    parts = [sent[i : i + 5000] for i in range(0, size, 5000)]
    client = Client(*parts, headers=[(b"content-length", b"%d" % size)])
    serve(reading, client).result(30)
    assert client.body == sent


def test_a_slow_sender_of_a_small_body_holds_no_thread(serve):
    threads = Threads(1)
    slow = Client(headers=[(b"content-length", b"5")])
    waiting = serve(reading, slow, threads)
    quick = Client(method="GET")
    serve(answering(b"hello"), quick, threads).result(30)
    assert not waiting.done()
    slow.is_gone.set()
    waiting.result(30)
    assert slow.got == [], "it has gone before its request was complete"


def test_a_slow_reader_of_a_whole_answer_holds_no_thread(serve):
    threads = Threads(1)
    slow, quick = Client(method="GET"), Client(method="GET")
    slow.takes.clear()
    sending = serve(answering(b"hello"), slow, threads)
    serve(answering(b"hello"), quick, threads).result(30)
    assert not sending.done()
    slow.takes.set()
    sending.result(30)
    assert slow.body == b"hello"


def test_a_stream_goes_out_piece_by_piece_as_the_client_takes_it(serve):
    made = []

    def pieces():
        for piece in (b"one", b"two", b"three"):
            made.append(piece)
            yield piece

    def application(environ, start_response):
        start_response("200 OK", [])
        return pieces()

    client = Client(method="GET")
    client.takes.clear()
    sending = serve(application, client)
    until(lambda: made)
    assert made == [b"one"]
    client.takes.set()
    sending.result(30)
    assert client.body == b"onetwothree"
    assert [message.get("more_body", False) for message in client.got[1:]] == [True] * 3 + [False]


def test_a_stream_may_read_the_body_as_it_goes(serve):
    """Nobody else may take its parts meanwhile, to see whether the client has gone."""
    sent = [bytes([i]) * SMALL for i in range(20)]

    def application(environ, start_response):
        start_response("200 OK", [])
        return iter(lambda: environ["wsgi.input"].read(SMALL), b"")

    client = Client(*sent, headers=[(b"content-length", b"%d" % (20 * SMALL))])
    serve(application, client).result(30)
    assert client.body == b"".join(sent)


def test_a_stream_ends_when_its_client_has_gone(serve):
    closed = threading.Event()

    class Endless:
        def __iter__(self):
            while True:
                yield b"x"

        def close(self):
            closed.set()

    def application(environ, start_response):
        start_response("200 OK", [])
        return Endless()

    client = Client(method="GET")
    sending = serve(application, client)
    until(lambda: len(client.got) > 3)
    client.is_gone.set()
    sending.result(30)
    assert closed.is_set()


def test_what_write_was_given_comes_first(serve):
    def application(environ, start_response):
        start_response("200 OK", [])(b"written ")
        return [b"returned"]

    client = Client(method="GET")
    serve(application, client).result(30)
    assert client.body == b"written returned"


def test_an_application_that_fails_is_a_500_and_in_the_log(serve, caplog):
    def application(environ, start_response):
        raise ValueError("a mistake")

    client = Client(method="GET")
    serve(application, client).result(30)
    assert (client.got[0]["status"], client.body) == (500, b"Internal Server Error")
    assert "a mistake" in caplog.text


def test_a_stream_that_fails_is_not_taken_for_a_whole_one(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        raise ValueError("a mistake")

    client = Client(method="GET")
    with pytest.raises(ValueError, match="a mistake"):
        serve(application, client).result(30)
    assert client.got[-1]["more_body"]


def test_as_many_requests_run_at_a_time_as_there_are_threads(serve):
    threads, running = Threads(3), threading.Semaphore(0)
    go_on = threading.Event()

    def application(environ, start_response):
        running.release()
        go_on.wait(30)
        return answering(b"hello")(environ, start_response)

    clients = [Client(method="GET") for _ in range(5)]
    asked = [serve(application, client, threads) for client in clients]
    for _ in range(3):
        assert running.acquire(timeout=30)
    assert not running.acquire(blocking=False)
    go_on.set()
    for each in asked:
        each.result(30)
    assert [client.body for client in clients] == [b"hello"] * 5


def test_it_lives_as_long_as_its_server(loop):
    sent = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    served = InThreads(answering(b""), Threads(1))
    loop.run(served({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    loop.run(served({"type": "websocket"}, receive, send))
    assert sent[-1] == "websocket.close"


def test_threads_are_made_when_they_are_needed_so_a_fork_may_come_before():
    assert isinstance(Threads(1)._pool, ThreadPoolExecutor)
    assert not Threads(1)._pool._threads


def test_the_url_is_there_as_it_was_sent():
    scope = Client().scope | {"path": "/käse", "raw_path": b"/k%C3%A4se", "query_string": b"a=1"}
    assert environ_of(scope)["RAW_URI"] == "/k%C3%A4se?a=1"
    assert environ_of(Client().scope)["RAW_URI"] == "/"
