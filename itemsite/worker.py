"""Gunicorn's ``asgi`` worker, which does not wait for clients that ask nothing when it stops.

Its own waits for every open connection, also for one that is kept alive and idle, until
``graceful_timeout`` is over; so a browser's tab would hold up each stop for ten seconds.
"""

import asyncio
from typing import Any, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

#: Seconds for which a connection may still bring a request after the stop began: a client that
#: sends one request after the other is told ``Connection: close`` with its next answer.
_LAST_REQUESTS: Final = 1.0


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection, which its worker knows."""

    def connection_made(self, transport: Any) -> None:
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        if self._awaiting_request and not self._finishing_calls:
            self._close_transport()


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """The worker; ``worker_class`` names it."""

    def init_process(self) -> None:
        self.connections: set[Protocol] = set()
        # The worker makes them by this name.
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    async def _shutdown(self) -> None:
        closing = asyncio.create_task(self._close_idle())
        try:
            await super()._shutdown()
        finally:
            closing.cancel()

    async def _close_idle(self) -> None:
        await asyncio.sleep(_LAST_REQUESTS)
        while True:
            for connection in [*self.connections]:
                connection.close_if_idle()
            await asyncio.sleep(0.05)
