"""Gunicorn's ``asgi`` worker, with four changes. Without them:

- The worker that wakes first takes all connections of a burst, and the others have nothing to do.
- A worker that ends loses requests. 1. It answers two clients, each with a promise to keep the
  connection. 2. It is told to stop, or the first request was its last (``--max-requests``). 3. It
  closes the second connection, on which the next request is on its way.
- A worker that ends waits for a client that keeps its connection and asks nothing, until
  ``graceful_timeout`` is over.
- Header names are in lower case, as an ASGI application gives them.
"""

import asyncio
import sys
import time
from functools import lru_cache
from typing import Any, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

#: Seconds for which a worker that is to end goes on, and says ``Connection: close``: a client that
#: sends one request after the other hears of it in that time.
LAST_REQUESTS: Final = 0.5
#: Seconds in which a new connection brings its first request.
FIRST_REQUEST: Final = 2.0
#: Names that are not simply capitalized.
_ODD: Final = {
    b"etag": b"ETag",
    b"www-authenticate": b"WWW-Authenticate",
    b"traceresponse": b"traceresponse",
}


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection, which its worker knows."""

    def connection_made(self, transport: Any) -> None:
        self.opened_at = time.monotonic()
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        # A new one is about to bring its first request.
        is_new = self.req_count <= 1 and time.monotonic() - self.opened_at < FIRST_REQUEST
        if self._awaiting_request and not self._finishing_calls and not is_new:
            self._close_transport()

    def _send_response_start(
        self, status: int, headers: Any, request: Any, close: bool = False
    ) -> None:
        # An ASGI application gives them in lower case. People see them as the docs have them.
        written = [(_written(name), value) for name, value in headers]
        super()._send_response_start(status, written, request, close)

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        will = super()._will_close(request, response_requires_close)
        return bool(will or self.worker.is_leaving)


@lru_cache(maxsize=500)
def _written(name: bytes) -> bytes:
    """The name of a header as HTTP/1 usually has it."""
    return _ODD.get(name) or name.title()


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """The worker; ``worker_class`` names it."""

    max_requests: int
    is_leaving = False
    _is_alive = True
    #: Requests answered, and after how many this worker ends.
    _answered, _most = 0, sys.maxsize

    @property
    def alive(self) -> bool:
        """Whether it serves. It is told to end by False, and does so after its last requests."""
        return self._is_alive

    @alive.setter
    def alive(self, alive: bool) -> None:
        if alive or self._quick_shutdown or self.loop is None:
            self._is_alive = alive
        elif not self.is_leaving:
            self.is_leaving = True
            self.loop.call_later(LAST_REQUESTS, setattr, self, "_is_alive", False)

    @property
    def nr(self) -> int:
        """The requests that it has answered; gunicorn's name for it."""
        return self._answered

    @nr.setter
    def nr(self, answered: int) -> None:
        self._answered = answered
        if answered >= self._most:
            self.alive = False

    def init_process(self) -> None:
        self.connections: set[Protocol] = set()
        # A connection would close after the request with this number, whatever it has promised.
        self._most, self.max_requests = self.max_requests, sys.maxsize
        # The worker makes them by this name.
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    def _setup_event_loop(self) -> None:
        super()._setup_event_loop()
        if isinstance(self.loop, asyncio.BaseEventLoop):
            create_server = self._serve_one_by_one(self.loop.create_server)
            self.loop.create_server = create_server  # type: ignore[method-assign]

    def _serve_one_by_one(self, create_server: Any) -> Any:
        """Take one connection in each turn of the loop, so that other workers take some."""

        async def create(factory: Any, *, sock: Any, **options: Any) -> Any:
            # asyncio takes up to *backlog* connections in one turn, all of a burst.
            server = await create_server(factory, sock=sock, backlog=1, **options)
            sock.listen(self.cfg.backlog)
            return server

        return create

    async def _shutdown(self) -> None:
        closing = asyncio.create_task(self._close_idle())
        try:
            await super()._shutdown()
        finally:
            closing.cancel()

    async def _close_idle(self) -> None:
        while True:
            for connection in [*self.connections]:
                connection.close_if_idle()
            await asyncio.sleep(0.05)
