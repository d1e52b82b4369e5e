"""A WSGI application under an ASGI server: each request in one of a few threads.

A body that has come in one piece is read before a thread is taken, so a slow sender of a small
one holds none; a larger one is read by the thread as the application asks for it. What the
application answers in one piece is sent by the loop, so a slow reader holds no thread either; a
streamed answer is sent piece by piece, each when the client has taken the one before.
"""

import asyncio
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote_to_bytes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

logger = logging.getLogger("cachelayer.asgi")

#: Bodies up to so many bytes are read before a thread is taken.
SMALL: Final = 65536
#: Seconds between two checks of whether a streaming application has read the body.
_WATCH: Final = 0.1
#: Header names as WSGI has them, by those of ASGI. Clients choose names: so many are remembered.
_names: dict[bytes, str] = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_NAMES: Final = 500


class ClientGone(OSError):  # noqa: N818  (as CacheUnavailable)
    """The client has closed the connection in the middle of its request."""


def environ_of(scope: Scope) -> Environ:
    """The WSGI environment (PEP 3333) of an ASGI HTTP *scope*, without a body as yet.

    ``asgi.scope`` is the scope itself: there an ASGI application around this one leaves what the
    WSGI application is to know.
    """
    path, root = scope["path"], scope.get("root_path", "")
    if not path.isascii():
        path = unquote_to_bytes(scope.get("raw_path") or path).decode("latin-1")
    server = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path.removeprefix(root) if root else path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        # What the URL was before it was decoded: gunicorn's name for it, which tracing reads.
        "RAW_URI": _raw_uri(scope, path),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] if server[1] is not None else ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    if client := scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    for raw, value in scope["headers"]:
        # As Django does: a client could send x_real-ip past a proxy that sets X-Real-Ip.
        if b"_" in raw:
            continue
        name = _names.get(raw) or _name(raw)
        text = value.decode("latin-1")
        if name in environ:
            text = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{text}"
        environ[name] = text
    return environ


def _raw_uri(scope: Scope, path: str) -> str:
    raw = scope.get("raw_path")
    start = raw.decode("latin-1") if raw else path
    query = scope["query_string"]
    return f"{start}?{query.decode('latin-1')}" if query else start


def _name(raw: bytes) -> str:
    name = f"HTTP_{raw.decode('latin-1').upper().replace('-', '_')}"
    if len(_names) < _NAMES:
        _names[raw] = name
    return name


class Threads:
    """Where WSGI applications run: *count* requests at a time, the others wait."""

    def __init__(self, count: int = 4) -> None:
        self._pool = ThreadPoolExecutor(count, "cachelayer-django")

    async def answer(
        self, application: Application, environ: Environ, receive: Receive, send: Send
    ) -> None:
        """Send what *application* answers to *environ*, whose body *receive* gives."""
        loop = asyncio.get_running_loop()
        body = _Body(environ, receive, loop)
        try:
            await body.give()
        except ClientGone:
            return
        response = _Response(application, environ, body, send, loop)
        whole = await loop.run_in_executor(self._pool, response.run)
        for message in whole:
            await send(message)


class InThreads:
    """A WSGI application as an ASGI one. It has no web sockets."""

    def __init__(self, application: Application, threads: Threads) -> None:
        self._application, self._threads = application, threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._threads.answer(self._application, environ_of(scope), receive, send)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class _Body(io.RawIOBase):
    """A request's body, read by a thread; or, on the loop, as a whole."""

    def __init__(self, environ: Environ, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._environ, self._receive, self._loop = environ, receive, loop
        length = environ.get("CONTENT_LENGTH", "")
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._left, self._has_more = b"", is_chunked or length not in ("", "0")
        self._is_small = not is_chunked and length.isdigit() and int(length) <= SMALL

    async def give(self) -> None:
        """Put the body into the environment if it is small, or else what reads it."""
        if self._has_more and self._is_small:
            self._environ["wsgi.input"] = io.BytesIO(await self._rest())
        elif self._has_more:
            self._environ["wsgi.input"] = io.BufferedReader(self, SMALL)
            self._environ["wsgi.input_terminated"] = True

    async def until_gone(self) -> None:
        """Until the client has gone; while the application reads the body, it will notice."""
        while self._has_more:
            await asyncio.sleep(_WATCH)
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and self._has_more:
            self._left = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    async def _rest(self) -> bytes:
        parts = []
        while self._has_more:
            parts.append(await self._next())
        return b"".join(parts)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client has gone before its request was complete.")
        self._has_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


class _Response:
    """One request in its thread."""

    def __init__(
        self,
        application: Application,
        environ: Environ,
        body: _Body,
        send: Send,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._application, self._environ = application, environ
        self._body, self._send, self._loop = body, send, loop
        self._start: Message | None = None
        self._is_started = False

    def run(self) -> list[Message]:
        """In the thread: run it, and answer what is left to be sent."""
        parts: Iterable[bytes] = ()
        try:
            parts = self._application(self._environ, self._start_response)
            return self._messages(parts)
        except ClientGone:
            return []
        except Exception:
            if self._is_started:
                raise  # The server closes the connection: the client sees that it is not whole.
            logger.exception("The application has failed.")
            return [*_ERROR]
        finally:
            if hasattr(parts, "close"):
                parts.close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and self._is_started:
            raise exc_info[1].with_traceback(exc_info[2])
        encoded = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        self._start = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}
        return self._write

    def _messages(self, parts: Iterable[bytes]) -> list[Message]:
        # Django's own, unless it streams, is whole however it is iterated.
        iterator = iter([b"".join(parts)] if getattr(parts, "streaming", True) is False else parts)
        first = next(iterator, b"")
        assert self._start is not None, "The application has answered without start_response()."
        if self._is_whole(first, parts):
            return [self._start, {"type": "http.response.body", "body": self._shown(first)}]
        gone = asyncio.run_coroutine_threadsafe(self._body.until_gone(), self._loop)
        try:
            self._write(first)
            for part in iterator:
                if gone.done():
                    return []
                self._write(part)
        finally:
            gone.cancel()
        return [{"type": "http.response.body", "body": b""}]

    def _is_whole(self, first: bytes, parts: Iterable[bytes]) -> bool:
        """Whether *first* is all that there is to be sent."""
        assert self._start is not None
        if getattr(parts, "streaming", True) is False:
            return not self._is_started
        length = dict(self._start["headers"]).get(b"content-length")
        is_empty = self._start["status"] in (204, 304) or self._environ["REQUEST_METHOD"] == "HEAD"
        return not self._is_started and (is_empty or length == b"%d" % len(first))

    def _write(self, part: bytes) -> None:
        """Send *part*, and wait until the client has taken what came before."""
        if not self._is_started:
            self._is_started = True
            assert self._start is not None
            self._wait(self._send(self._start))
        if part:
            body = {"type": "http.response.body", "body": self._shown(part), "more_body": True}
            self._wait(self._send(body))

    def _shown(self, part: bytes) -> bytes:
        return b"" if self._environ["REQUEST_METHOD"] == "HEAD" else part

    def _wait(self, sending: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(sending, self._loop)
        future.result()


_ERROR: Final[tuple[Message, ...]] = (
    {
        "type": "http.response.start",
        "status": 500,
        "headers": [(b"content-type", b"text/plain; charset=utf-8")],
    },
    {"type": "http.response.body", "body": b"Internal Server Error"},
)
