"""GET and MGET with as little between it and the socket as can be.

redis-py makes the connection: TLS, passwords, unix sockets, Sentinel and the check of
the incarnation are its and ``link``'s. From then on a GET is one ``sendall`` of bytes
that are put together by hand, one ``recv``, and hiredis. That is a third of what
redis-py's own way takes.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_CHUNK: Final = 65536


class Getter:
    """A connection for GETs only; one thread at a time.

    After any error it must be closed: half an answer may be left on it.
    """

    __slots__ = ("_connection", "_reader", "_receive", "_send", "_timeout")

    def __init__(self, connection: Any) -> None:
        """Connect *connection*, redis-py's; raises ``RedisError``."""
        connection.connect()
        self._connection = connection
        # Looked up once. redis-py has no public way to the socket.
        self._send = connection._sock.sendall
        self._receive = connection._sock.recv
        self._timeout: float | None = connection.socket_timeout
        # Not redis-py's reader: it decodes where decode_responses is set.
        self._reader = hiredis.Reader()

    def get(self, keys: Sequence[str]) -> Any:
        """The value of the one key of *keys*, a list of several ones' values, or what is refused.

        That is the ``ResponseError`` that Redis answers. Raises ``RedisError``. The answer
        as a whole is waited for no longer than twice the socket's timeout, however slowly
        it comes.
        """
        try:
            self._send(_command(keys))
            answer = self._read()
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout reading from socket") from error
        except OSError as error:
            raise RedisConnectionError(str(error)) from error
        if isinstance(answer, hiredis.ReplyError):
            return self._refusal(str(answer))
        return answer

    def close(self) -> None:
        self._connection.disconnect()

    def _read(self) -> Any:
        reader, deadline = self._reader, 0.0
        while True:
            received = self._receive(_CHUNK)
            if not received:
                raise RedisConnectionError("Redis has closed the connection.")
            reader.feed(received)
            answer = reader.gets()
            while isinstance(answer, hiredis.PushNotification):
                # What Redis says unasked (RESP3) is no answer.
                answer = reader.gets()
            if answer is not False:
                return answer
            if self._timeout:
                now = time.monotonic()
                deadline = deadline or now + self._timeout
                if now > deadline:
                    raise TimeoutError

    def _refusal(self, text: str) -> ResponseError:
        error = self._connection._parser.parse_error(text)
        if isinstance(error, ResponseError):
            return error
        raise error  # Such as "loading", which redis-py takes for a broken connection.


def _command(keys: Sequence[str]) -> bytes:
    if len(keys) == 1:
        name = keys[0].encode()
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)
    names = [key.encode() for key in keys]
    arguments = b"".join([b"$%d\r\n%b\r\n" % (len(name), name) for name in names])
    return b"*%d\r\n$4\r\nMGET\r\n%b" % (len(names) + 1, arguments)


class Getters:
    """Idle getters, given to whichever thread needs one; *connect* makes a new connection.

    There are never more than threads that have read at one time. ``forget`` closes
    them all; those in use are not used again.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self.start_afresh()

    def start_afresh(self) -> None:
        """Without touching what there is: in a forked child it is the parent's."""
        # Appending and popping are atomic: no lock.
        self._idle: deque[Getter] = deque()

    def get(self, keys: Sequence[str]) -> Any:
        """As ``Getter.get``."""
        idle = self._idle
        try:
            getter = idle.pop()
        except IndexError:
            getter = Getter(self._connect())
        try:
            value = getter.get(keys)
        except BaseException:
            getter.close()
            raise
        # Into where it came from: nobody looks there when it was forgotten meanwhile.
        idle.append(getter)
        return value

    def forget(self) -> None:
        idle, self._idle = self._idle, deque()
        while idle:
            with suppress(IndexError):
                idle.pop().close()
