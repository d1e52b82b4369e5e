"""Django's handler with the layer that answers hits, under each kind of server, for tests."""

import asyncio
import io
import threading
from http import HTTPStatus
from urllib.parse import quote

from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import RequestFactory

from cachelayer.contrib.asgi import front
from cachelayer.contrib.threads import Threads
from cachelayer.contrib.wsgi import FastHits

ID = "550e8400-e29b-41d4-a716-44665544abcd"
PATH = f"/items/{ID}"


class Site:
    """Django's own handler, and the layer on top of it, which counts what it hands over."""

    def __init__(self):
        #: What Django answers with; the layer hands requests to the same, and counts them.
        self.django = self.handler = WSGIHandler()
        self.handed_over = 0
        self.layer = FastHits(self._count)

    def _count(self, environ, start_response):
        self.handed_over += 1
        return self.handler(environ, start_response)

    def ask(self, path=PATH, method="GET", application=None, **headers):
        environ = environ_of(path, method, **headers)
        said = []
        response = (application or self.layer)(environ, lambda *args: said.append(args))
        body = b"".join(response)
        if hasattr(response, "close"):
            response.close()
        [(status, headers)] = said
        return status, headers, body

    def ask_both(self, *args, **kwargs):
        """What Django says, and what the layer says; times put out of the way."""
        return (
            timeless(self.ask(*args, application=self.django, **kwargs)),
            timeless(self.ask(*args, **kwargs)),
        )

    def is_fast(self, *args, **kwargs):
        """Whether a request whose like has been seen is answered without Django."""
        self.ask(*args, **kwargs)
        before = self.handed_over
        self.ask(*args, **kwargs)
        return self.handed_over == before


class LoopSite(Site):
    """The same under an ASGI server: hits are answered on an event loop, all else in a thread."""

    def __init__(self, loop):
        super().__init__()
        self._threads = Threads(2)
        self.layer = front(self._count, self._threads)
        self._loop = loop

    def close(self):
        self._loop.run(self._end_threads())

    async def _end_threads(self):
        pool, met = self._threads._pool, threading.Barrier(2)
        both = [pool.submit(lambda: (met.wait(30), connections.close_all())) for _ in range(2)]
        for each in both:
            await asyncio.wrap_future(each)
        pool.shutdown()

    def ask(self, path=PATH, method="GET", application=None, **headers):
        if application:
            status, headers, body = super().ask(path, method, application, **headers)
            return status, headers, b"" if method == "HEAD" else body
        environ = environ_of(path, method, **headers)
        self._loop.connect()
        start, *parts = self._loop.run(self._ask(environ))
        said = [(_TITLES.get(n) or n.decode().title(), v.decode()) for n, v in start["headers"]]
        reason = HTTPStatus(start["status"]).phrase
        return f"{start['status']} {reason}", said, b"".join(part["body"] for part in parts)

    async def _ask(self, environ):
        sent = []
        messages = [{"type": "http.request", "body": environ["wsgi.input"].read()}]

        async def receive():
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await self.layer(scope_of(environ), receive, send)
        return sent


#: Names that are not simply capitalized.
_TITLES = {b"etag": "ETag", b"www-authenticate": "WWW-Authenticate"}


def scope_of(environ):
    path = f"{environ['SCRIPT_NAME']}{environ['PATH_INFO']}".encode("latin-1")
    names = {n: n.removeprefix("HTTP_") for n in environ if n.startswith(("HTTP_", "CONTENT_"))}
    return {
        "type": "http",
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": path.decode(errors="replace"),
        "raw_path": quote(path).encode(),
        "root_path": environ["SCRIPT_NAME"],
        "query_string": environ["QUERY_STRING"].encode(),
        "headers": [
            (short.lower().replace("_", "-").encode(), environ[name].encode("latin-1"))
            for name, short in names.items()
        ],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 4711),
    }


def environ_of(path, method, **headers):
    environ = RequestFactory().generic(method, path).environ
    environ |= {"HTTP_HOST": "127.0.0.1:8000", "wsgi.input": io.BytesIO()}
    environ |= headers
    return {name: value for name, value in environ.items() if value is not None}


def timeless(answer):
    status, headers, body = answer
    return status, [(n, "" if n == "Server-Timing" else v) for n, v in headers], body
