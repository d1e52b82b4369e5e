"""Commands and their answers, with as little between them and the socket as can be.

redis-py makes the connection: TLS, passwords, unix sockets, Sentinel and the check of
the incarnation are its and ``link``'s. From then on a command is bytes that are put
together by hand, one ``sendall``, one ``recv``, and hiredis. That is half of what
redis-py's own way takes.
"""

import _socket
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Bytes that are received at a time: of the first part of an answer, and of the others.
_CHUNK: Final = 65536
_LARGE_CHUNK: Final = 1 << 20
#: What a key holds, as the types of an answer.
_VALUES: Final = frozenset({bytes, type(None)})
#: So many times the socket's timeout one answer may take as a whole. Not just once: a
#: thread that waits its turn between two parts is not a Redis that does not answer.
_PARTS: Final = 10


def pack(*commands: tuple[Any, ...]) -> bytes:
    """*commands* as Redis reads them (RESP): their parts are str, bytes or numbers."""
    return b"".join([hiredis.pack_command(command) for command in commands])


def pack_get(keys: Sequence[str]) -> bytes:
    """One command for the values of *keys*."""
    if len(keys) > 1:
        return pack(("MGET", *keys))
    name = keys[0].encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)


class Line:
    """A connection; one thread at a time.

    After any error it must be closed: half an answer may be left on it.
    """

    __slots__ = ("_connection", "_reader", "_receive", "_send", "_timeout")

    def __init__(self, connection: Any) -> None:
        """Connect *connection*, redis-py's; raises ``RedisError``."""
        connect(connection)
        self._connection = connection
        # redis-py has no public way to the socket.
        sock: socket.socket = connection._sock
        self._timeout: float | None = connection.socket_timeout
        if self._timeout and _is_the_kernels(sock):
            _let_the_kernel_time(sock, self._timeout)
        # Looked up once.
        self._send, self._receive = sock.sendall, sock.recv
        # Not redis-py's reader: it decodes where decode_responses is set.
        self._reader = hiredis.Reader()

    def ask(self, packed: bytes, count: int) -> list[Any]:
        """The *count* answers to *packed*; a refusal is a ``ResponseError`` among them.

        Raises ``RedisError``. Each part is waited for as long as the socket's timeout says,
        one answer as a whole ten times as long, however slowly it trickles in.
        """
        try:
            self._send(packed)
            return self._read(count)
        except (TimeoutError, BlockingIOError) as error:
            raise RedisTimeoutError("Timeout reading from socket") from error
        except OSError as error:
            raise RedisConnectionError(str(error)) from error

    def close(self) -> None:
        self._connection.disconnect()

    def _read(self, count: int) -> list[Any]:
        deadline, chunk = 0.0, _CHUNK
        answers: list[Any] = []
        while True:
            received = self._receive(chunk)
            if not received:
                raise RedisConnectionError("Redis has closed the connection.")
            for answer in self._parse(received):
                if isinstance(answer, hiredis.ReplyError):
                    answer = self._refusal(answer)
                elif isinstance(answer, hiredis.PushNotification):
                    continue  # What Redis says unasked (RESP3) is no answer.
                answers.append(answer)
            if len(answers) == count and not self._reader.has_data():
                return answers
            if len(answers) >= count:
                # The next command would be given it for its answer.
                raise RedisConnectionError("More has come than was asked for.")
            chunk = _LARGE_CHUNK
            if count == 1 and self._timeout:
                now = time.monotonic()
                deadline = deadline or now + _PARTS * self._timeout
                if now > deadline:
                    raise TimeoutError

    def _parse(self, received: bytes) -> list[Any]:
        reader, answers = self._reader, []
        try:
            reader.feed(received)
            while (answer := reader.gets()) is not False:
                answers.append(answer)
        except Exception as error:
            # Not only a ProtocolError: a length that no memory holds, a map whose key is a list.
            raise RedisConnectionError(f"This is no answer of a Redis: {error!r}") from error
        return answers

    def _refusal(self, reply: Exception) -> ResponseError:
        text = str(reply)
        if "READONLY " in text:  # Redis 6 wraps what a script was told into a text of its own.
            # A primary that has become a replica: a new connection asks Sentinel for the
            # new one. Were this a refusal, the writer would go without its mark.
            raise RedisConnectionError("This Redis has become a replica.")
        error = self._connection._parser.parse_error(text)
        if isinstance(error, ResponseError):
            return error
        raise error  # Such as "loading", which redis-py takes for a broken connection.


def connect(connection: Any) -> None:
    """Connect *connection*, redis-py's; raises ``RedisError``, whatever is at the other end."""
    try:
        connection.connect()
    except (RedisError, OSError):
        raise
    except Exception as error:
        # redis-py takes apart what comes while it says hello as if it were always a Redis's.
        connection.disconnect()
        raise RedisConnectionError(f"This is no Redis: {error!r}") from error


def _is_the_kernels(sock: socket.socket) -> bool:
    """Whether *sock* is the standard library's own and plain: its calls go to the kernel.

    Not ``type(sock) is socket.socket``: gevent and eventlet put their own class there. Theirs
    must stay non-blocking, and TLS reads more often than it is asked.
    """
    kind = type(sock)
    return kind.__module__ == "socket" and getattr(kind, "recv", None) is _socket.socket.recv


def _let_the_kernel_time(sock: socket.socket, seconds: float) -> None:
    """Have each ``send`` and ``recv`` of a plain *sock* end after *seconds* (``BlockingIOError``).

    Python's own timeout asks ``poll`` before each of them, and lets go of the GIL twice.
    """
    timeval = struct.pack("@ll", *divmod(max(1, round(seconds * 1e6)), 1_000_000))
    try:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, timeval)
    except OSError:
        return  # A system that has other ideas of them keeps Python's.
    sock.settimeout(None)


class Lines:
    """Idle lines, given to whichever thread needs one; *connect* makes a new connection.

    There are never more than threads that have asked at one time, nor than *most*.
    ``forget`` closes them all; those in use are not used again.
    """

    def __init__(self, connect: Callable[[], Any], most: Callable[[], int]) -> None:
        self._connect, self._most = connect, most
        self.start_afresh()

    def start_afresh(self) -> None:
        """Without touching what there is: in a forked child it is the parent's."""
        # Appending and popping are atomic: no lock.
        self._idle: deque[Line] = deque()
        self._lock = threading.Lock()
        self._made = 0

    def ask(self, packed: bytes, count: int) -> list[Any]:
        """As ``Line.ask``; raises ``MaxConnectionsError`` when too many are in use."""
        idle = self._idle
        try:
            line = idle.pop()
        except IndexError:
            line = self._make()
        try:
            answers = line.ask(packed, count)
        except BaseException:
            self._close(line)
            raise
        if idle is self._idle:
            idle.append(line)
        else:  # Forgotten meanwhile.
            self._close(line)
        return answers

    def values(self, keys: Sequence[str]) -> Any:
        """The values of *keys* (bytes or None), or the ``ResponseError`` that refuses them."""
        values = self.ask(pack_get(keys), 1)
        if len(keys) > 1 or isinstance(values[0], ResponseError):
            [values] = values
            if isinstance(values, ResponseError):
                return values
        if (
            type(values) is list
            and len(values) == len(keys)
            and _VALUES.issuperset(map(type, values))
        ):
            return values
        raise RedisConnectionError("This is no answer to GET: another command's, or no Redis's.")

    def forget(self) -> None:
        idle, self._idle = self._idle, deque()
        while idle:
            with suppress(IndexError):
                self._close(idle.pop())

    def _make(self) -> Line:
        with self._lock:
            if self._made >= self._most():
                raise MaxConnectionsError("Too many connections")
            self._made += 1
        try:
            return Line(self._connect())
        except BaseException:
            with self._lock:
                self._made -= 1
            raise

    def _close(self, line: Line) -> None:
        with self._lock:
            self._made -= 1
        line.close()
