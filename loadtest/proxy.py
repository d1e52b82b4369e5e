"""A TCP proxy on 127.0.0.1 that can be cut, to take one process away from Redis or Postgres."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

_CHUNK: Final = 65536


class Proxy:
    """Forwards to 127.0.0.1:*port*, in a separate thread, until it is cut.

    ``refuse()`` breaks every connection and each new one; ``swallow()`` keeps
    them open and forwards nothing, so that what was sent arrives after ``mend()``.
    ``hold_answers()`` does so in one direction: all that is sent arrives, and is
    carried out, but no answer comes back.
    """

    def __init__(self, port: int, listening: socket.socket | None = None) -> None:
        """*listening* is a socket to listen on; a new one is at ``self.port``."""
        self._target, self._listening = port, listening
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)

    def refuse(self) -> None:
        self._loop.call_soon_threadsafe(self._refuse)

    def swallow(self) -> None:
        self._do(self._flowing.clear)

    def hold_answers(self) -> None:
        self._do(self._answering.clear)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._mend)

    def _do(self, change: Callable[[], None]) -> None:
        """Change it, and return when the change applies to everything that is sent afterwards."""
        done = threading.Event()

        def step() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(step)
        done.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(5)

    def _end(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        # After they have ended.
        self._loop.call_soon(self._loop.stop)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._listening or socket.create_server(("127.0.0.1", 0))
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, sock=listening)
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    def _refuse(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def _mend(self) -> None:
        self._refusing = False
        self._flowing.set()
        self._answering.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        there_and_back = (reader, onward, self._flowing), (there, writer, self._answering)
        for source, target, open_way in there_and_back:
            self._writers.add(target)
            pump = self._loop.create_task(self._pump(source, target, open_way))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, open_way: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                await open_way.wait()
                target.write(data)
                await target.drain()
        self._writers.discard(target)
        with contextlib.suppress(OSError):
            target.close()
