"""Redis from an event loop: what is asked in one turn of the loop goes out together.

One connection for each loop; on Redis Cluster, one to each node (``cluster_loop.py``). redis-py
makes it, in a thread, as it makes every other: TLS, unix sockets, Sentinel, and the question who
the server is. From then on its socket is the loop's. Commands are written at the end of the turn in
which they were asked, and answers come in the order of the commands. So a hundred reads in one turn
cost one ``send`` and one ``recv``.

Nobody waits here for a connection: while there is none, a question raises ``NotConnected``, and
the caller takes the way through a thread.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError
from typing import Any, Final
from weakref import WeakKeyDictionary

import hiredis
from django.db import connections
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import resp, scripts, transport
from cachelayer.redis.cluster import Address
from cachelayer.redis.gate import Use, gate
from cachelayer.redis.scripts import Command

_CHUNK: Final = 1 << 18
#: Without a time-out in the settings; the system check asks for one.
_NO_TIMEOUT: Final = 3600.0
_LATER: Final = (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)


class NotConnected(CacheUnavailable):
    """This loop has no connection yet, or none any more; one is being made."""


class Line:
    """One loop's connection. Everything but ``_connect`` happens in that loop.

    *make* makes a connection, in a thread; *suspect* is told why there is none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Any],
        suspect: Callable[[Exception], None],
    ) -> None:
        self._loop, self._make, self._suspect = loop, make, suspect
        self._connection: Any = None
        self._generation = -1
        self._is_connecting = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, packed: bytes, count: int) -> "asyncio.Future[list[Any]]":
        """The *count* answers to *packed*; a refusal is a ``ResponseError`` among them.

        Raises ``NotConnected``. The future raises ``RedisError`` when the connection breaks, or
        when the answers have not come in the socket's time-out.
        """
        self.enter()
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        answers: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((answers, count, self._loop.time() + self._timeout))
        if self._timer is None:
            # One timer for all that wait, not one for each.
            self._timer = self._loop.call_later(self._timeout, self._look_at_the_clock)
        return answers

    def enter(self) -> None:
        """Raise ``NotConnected``, and connect, where ``ask`` could not ask."""
        if self._connection is None or self._generation != transport.generation():
            self._renew()
            raise NotConnected("The event loop has no connection to Redis yet.")

    def close(self, error: Exception) -> None:
        """Disconnect; what still waits ends with *error*."""
        if self._connection is None:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._timer:
            self._timer.cancel()
        connection, self._connection = self._connection, None
        with suppress(RedisError, OSError):
            connection.disconnect()
        while self._waiting:
            answers, *_ = self._waiting.popleft()
            if not answers.done():
                answers.set_exception(error)

    def _renew(self) -> None:
        self.close(RedisConnectionError("Connections are verified anew."))
        if not self._is_connecting:
            self._is_connecting = True
            # A thread by itself: those of the application may all be waiting.
            threading.Thread(target=self._connect, name="cachelayer-connect", daemon=True).start()

    def _connect(self) -> None:
        generation = transport.generation()
        connection = error = None
        try:
            connection = self._make()
        except (RedisError, OSError, CacheUnavailable) as failed:
            error = failed
        finally:
            connections.close_all()  # Verifying has asked Postgres, from this thread.
        with suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._adopt, connection, generation, error)

    def _adopt(self, connection: Any, generation: int, error: Exception | None) -> None:
        self._is_connecting = False
        if connection is None:
            self._suspect(error or RedisConnectionError("No connection."))
            return
        self._connection, self._generation = connection, generation
        self._socket: Any = connection._sock
        self._timeout: float = connection.socket_timeout or _NO_TIMEOUT
        self._socket.settimeout(0)
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._unsent, self._is_writer = b"", False
        self._answers: list[Any] = []
        self._waiting: deque[tuple[asyncio.Future[list[Any]], int, float]] = deque()
        self._timer = None
        self._loop.add_reader(self._socket, self._receive)

    def _flush(self) -> None:
        if self._connection is None:
            return
        self._unsent += b"".join(self._outgoing)
        self._outgoing.clear()
        self._send()

    def _send(self) -> None:
        if not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except _LATER:
            sent = 0
        except OSError as error:
            self.close(RedisConnectionError(str(error)))
            return
        self._unsent = self._unsent[sent:]
        # Only where something changes: each call is a system call.
        if self._unsent and not self._is_writer:
            self._loop.add_writer(self._socket, self._send)
        elif self._is_writer and not self._unsent:
            self._loop.remove_writer(self._socket)
        self._is_writer = bool(self._unsent)

    def _receive(self) -> None:
        try:
            while True:
                received = self._socket.recv(_CHUNK)
                if not received:
                    raise RedisConnectionError("Redis has closed the connection.")
                self._reader.feed(received)
                # What TLS has decrypted already makes no socket readable.
                if not (isinstance(self._socket, SSLSocket) and self._socket.pending()):
                    break
        except _LATER:
            pass
        except (OSError, RedisError) as error:
            self.close(RedisConnectionError(str(error)))
            return
        self._give_out()

    def _give_out(self) -> None:
        try:
            while (answer := self._reader.gets()) is not False:
                if isinstance(answer, hiredis.PushNotification):
                    continue  # What Redis says unasked (RESP3) is no answer.
                if isinstance(answer, hiredis.ReplyError):
                    answer = resp.refusal(self._connection, answer)
                self._answers.append(answer)
                if not self._waiting:
                    raise RedisConnectionError("More has come than was asked for.")
                future, count, _ = self._waiting[0]
                if len(self._answers) == count:
                    self._waiting.popleft()
                    answers, self._answers = self._answers, []
                    if not future.done():
                        future.set_result(answers)
        except Exception as error:
            # Not only a ProtocolError: a length that no memory holds, a map whose key is a list.
            self.close(
                error
                if isinstance(error, RedisError)
                else RedisConnectionError(f"This is no answer of a Redis: {error!r}")
            )

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._waiting and self._loop.time() >= self._waiting[0][2]:
            # A loop that was held up may run timers before it looks at sockets (libuv does).
            self._receive()
        if self._connection is None or not self._waiting:
            return
        left = self._waiting[0][2] - self._loop.time()
        if left <= 0:
            self.close(RedisTimeoutError("Timeout reading from socket"))
        else:
            self._timer = self._loop.call_later(left, self._look_at_the_clock)


#: By loop, and by the address of the node; one Redis has None.
_lines: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address | None, Line]]" = (
    WeakKeyDictionary()
)


def _line() -> Line:
    return line_to(None, transport.verified_connection, gate.suspect)


def line_to(
    node: Address | None, make: Callable[[], Any], suspect: Callable[[Exception], None]
) -> Line:
    """The running loop's line to *node*; see ``Line``."""
    loop = asyncio.get_running_loop()
    lines = _lines.get(loop)
    if lines is None:
        lines = _lines[loop] = {}
    line = lines.get(node)
    if line is None:
        line = lines[node] = Line(loop, make, suspect)
    return line


def enter() -> None:
    """Raise what ``get`` and ``run`` raise without having asked Redis."""
    gate.enter(Use.READ)
    _line().enter()


async def get(key: str) -> tuple[bytes | None, float]:
    """The value of *key*, a key in Redis, and the seconds that took.

    Raises ``CacheUnavailable`` as ``transport.get``, and ``NotConnected``.
    """
    [value], took = await _guarded("GET", resp.pack_get([key]), 1)
    return value, took


async def run(command: Command) -> tuple[Any, float]:
    """The answer to *command*, a script's, and the seconds that took; raises as ``get``."""
    name = scripts.name(command)
    [answer], took = await _guarded(name, resp.pack(command), 1, may_be_unknown=True)
    if isinstance(answer, NoScriptError):
        # A server that has restarted has forgotten the scripts.
        [answer], more = await _guarded(name, resp.pack(scripts.with_text(command)), 1)
        took += more
    return answer, took


async def _guarded(
    name: str, packed: bytes, count: int, *, may_be_unknown: bool = False
) -> tuple[Sequence[Any], float]:
    """As ``transport``'s: through the gate before and after, timed, and announced."""
    gate.enter(Use.READ)
    started = time.perf_counter()
    try:
        answers = await _line().ask(packed, count)
        took = time.perf_counter() - started
        for answer in answers:
            if isinstance(answer, ResponseError) and not (
                may_be_unknown and isinstance(answer, NoScriptError)
            ):
                raise answer
    except (RedisError, OSError) as error:
        events.round_trip_ended(name, time.perf_counter() - started)
        if "WRONGTYPE" not in str(error):  # Somebody else's value; Redis is well.
            gate.suspect(error)
        raise CacheUnavailable(str(error)) from error
    events.round_trip_ended(name, took)
    gate.enter(Use.READ)
    return answers, took


os.register_at_fork(after_in_child=_lines.clear)
