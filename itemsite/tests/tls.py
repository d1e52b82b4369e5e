"""TLS in front of a real Redis: the one that ``./lab`` installs is built without it."""

import asyncio
import ssl
import threading
from contextlib import suppress

_READY_WITHIN = 30.0


class Terminator:
    """Takes TLS on a separate port of 127.0.0.1 and passes on what is in it to *backend*, a port.

    It outlives the server behind it: while that is down, connections are closed at once.
    """

    def __init__(self, backend: int, context: ssl.SSLContext) -> None:
        self._backend, self._context = backend, context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve()], daemon=True)

    def __enter__(self) -> "Terminator":
        self._thread.start()
        assert self._ready.wait(_READY_WITHIN), "the TLS terminator did not start"
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._context)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled at the end, as expected.
        with suppress(OSError, asyncio.CancelledError):
            try:
                behind, to_it = await asyncio.open_connection("127.0.0.1", self._backend)
                await asyncio.gather(_copy(reader, to_it), _copy(behind, writer))
            finally:
                writer.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until one side is gone; then the other side is cut off, as by a server that is killed."""
    with suppress(OSError):
        while part := await source.read(65536):
            target.write(part)
            await target.drain()
    target.transport.abort()
