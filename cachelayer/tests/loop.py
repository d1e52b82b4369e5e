"""An event loop in a thread, for tests: what is awaited there, a test gets."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import keyspace, loop_transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.polling import until

T = TypeVar("T")


class Loop:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def connect(self) -> None:
        """Wait until this loop has its connection to Redis, unless nobody may ask Redis."""
        key = keyspace.of("a key that nobody has")
        until(lambda: self.run(_is_connected(key)))

    def line(self) -> loop_transport.Line:
        async def find() -> loop_transport.Line:
            return loop_transport._line()

        return self.run(find())


async def _is_connected(key: str) -> bool:
    if gate.mode is not Mode.CLOSED:
        return True
    try:
        await loop_transport.get(key)
    except CacheUnavailable:
        return False
    return True


@contextmanager
def running_loop() -> Iterator[Loop]:
    running = Loop()
    thread = threading.Thread(target=running.loop.run_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        for line in loop_transport._lines.get(running.loop, {}).values():
            running.loop.call_soon_threadsafe(line.close, OSError("The test is over."))
        running.loop.call_soon_threadsafe(running.loop.stop)
        thread.join()
        running.loop.close()
