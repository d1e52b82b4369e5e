"""Sends commands and reads answers with little code between them and the socket.

redis-py makes the connection, with TLS, passwords, unix sockets and Sentinel; ``transport.py``
checks the incarnation. After that, a command takes one ``sendall`` of bytes that are packed here,
one ``recv``, and hiredis. That takes half the time of redis-py's own code.
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

#: Bytes received at a time: for the first part of an answer, and for later parts.
_CHUNK: Final = 65536
_LARGE_CHUNK: Final = 1 << 20
#: The types of a key's value in an answer.
_VALUES: Final = frozenset({bytes, type(None)})
#: How many socket timeouts a whole answer may take. More than one, because a thread that waits
#: for its turn between two parts does not mean that Redis is down.
_PARTS: Final = 10


def pack(*commands: tuple[Any, ...]) -> bytes:
    """*commands* in Redis's format (RESP); their parts are str, bytes or numbers."""
    return b"".join([hiredis.pack_command(command) for command in commands])


def pack_get(keys: Sequence[str]) -> bytes:
    """One packed command that gets the values of *keys*."""
    if len(keys) > 1:
        return pack(("MGET", *keys))
    name = keys[0].encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)


class Line:
    """A connection, for one thread at a time.

    After any error it must be closed, because half an answer may be left on it.
    """

    __slots__ = ("_connection", "_reader", "_receive", "_send", "_timeout")

    def __init__(self, connection: Any) -> None:
        """Connect redis-py's *connection*; raises ``RedisError``."""
        connect(connection)
        self._connection = connection
        # redis-py has no public access to the socket.
        sock: socket.socket = connection._sock
        self._timeout: float | None = connection.socket_timeout
        if self._timeout and _is_the_kernels(sock):
            _let_the_kernel_time(sock, self._timeout)
        # Looked up once.
        self._send, self._receive = sock.sendall, sock.recv
        # Not redis-py's reader, because it decodes if decode_responses is set.
        self._reader = hiredis.Reader()

    def ask(self, packed: bytes, count: int) -> list[Any]:
        """The *count* answers to *packed*; a refusal is a ``ResponseError`` among them.

        Each part may take as long as the socket's timeout, and each whole answer ten times as long.
        Raises ``RedisError``.
        """
        self.send(packed)
        return self.read(count)

    def send(self, packed: bytes) -> None:
        """Send without waiting for the answers; raises ``RedisError``."""
        try:
            self._send(packed)
        except OSError as error:
            raise _broken(error) from error

    def read(self, count: int) -> list[Any]:
        """The *count* answers to what was sent, as ``ask`` returns them."""
        try:
            return self._read(count)
        except OSError as error:
            raise _broken(error) from error

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
                    answer = refusal(self._connection, answer)
                elif isinstance(answer, hiredis.PushNotification):
                    continue  # A push message (RESP3) is not an answer.
                answers.append(answer)
            if len(answers) == count and not self._reader.has_data():
                return answers
            if len(answers) >= count:
                # The next command would take the rest as its answer.
                raise RedisConnectionError("Redis has sent more answers than expected.")
            chunk = _LARGE_CHUNK
            if self._timeout:
                now = time.monotonic()
                deadline = deadline or now + _PARTS * self._timeout * count
                if now > deadline:
                    raise TimeoutError

    def _parse(self, received: bytes) -> list[Any]:
        reader, answers = self._reader, []
        try:
            reader.feed(received)
            while (answer := reader.gets()) is not False:
                answers.append(answer)
        except Exception as error:
            # Any error, such as a length that exceeds memory, or a map with a list as key.
            raise RedisConnectionError(f"This is not an answer from Redis: {error!r}") from error
        return answers


def _broken(error: OSError) -> RedisError:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return RedisTimeoutError("Timeout reading from socket")
    return RedisConnectionError(str(error))


def refusal(connection: Any, reply: Exception) -> ResponseError:
    """The refusal in *reply*, on redis-py's *connection*; raises what breaks the connection."""
    text = str(reply)
    if "READONLY " in text:  # Redis 6 wraps an error in a script into another text.
        # This primary has become a replica. A new connection asks Sentinel for the new
        # primary. If this were a refusal, the writer would write without its mark.
        raise RedisConnectionError("This Redis has become a replica.")
    error = connection._parser.parse_error(text)
    if isinstance(error, ResponseError):
        return error
    raise error  # For example "loading", which redis-py takes for a broken connection.


def connect(connection: Any) -> None:
    """Connect redis-py's *connection*; raises ``RedisError``, also if the server is not Redis."""
    try:
        connection.connect()
    except (RedisError, OSError):
        raise
    except Exception as error:
        # redis-py does not expect that the other end may not be Redis.
        connection.disconnect()
        raise RedisConnectionError(f"The server is not Redis: {error!r}") from error


def _is_the_kernels(sock: socket.socket) -> bool:
    """Whether *sock* is the standard library's plain socket, whose calls go to the kernel.

    ``type(sock) is socket.socket`` would not do, because gevent and eventlet replace that class.
    Their sockets must stay non-blocking, and TLS may read more often than it is called.
    """
    kind = type(sock)
    return kind.__module__ == "socket" and getattr(kind, "recv", None) is _socket.socket.recv


def _let_the_kernel_time(sock: socket.socket, seconds: float) -> None:
    """Let each ``send`` and ``recv`` of a plain *sock* end after *seconds* (``BlockingIOError``).

    Python's own timeout calls ``poll`` before each of them, and releases the GIL twice.
    """
    timeval = struct.pack("@ll", *divmod(max(1, round(seconds * 1e6)), 1_000_000))
    try:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, timeval)
    except OSError:
        return  # Systems with other socket options keep Python's timeout.
    sock.settimeout(None)


class Lines:
    """A pool of lines. A thread takes an idle line, or *connect* makes a new connection.

    There are never more lines than threads that have asked at one time, nor more than *most*.
    ``forget`` closes all idle lines; lines in use are not used again.
    """

    def __init__(self, connect: Callable[[], Any], most: Callable[[], int]) -> None:
        self._connect, self._most = connect, most
        self.start_afresh()

    def start_afresh(self) -> None:
        """Start empty, without closing lines: in a forked child, they belong to the parent."""
        # append and pop are atomic, so no lock is needed.
        self._idle: deque[Line] = deque()
        self._lock = threading.Lock()
        self._made = 0

    def ask(self, packed: bytes, count: int) -> list[Any]:
        """Like ``Line.ask``; raises ``MaxConnectionsError`` if too many lines are in use."""
        idle = self._idle
        line = self._take(idle)
        try:
            answers = line.ask(packed, count)
        except BaseException:
            self._close(line)
            raise
        self._give_back(line, idle)
        return answers

    def send(self, packed: bytes, count: int) -> "Question":
        """Like ``ask``, but without waiting: a thread can ask several servers at once."""
        idle = self._idle
        line = self._take(idle)
        try:
            line.send(packed)
        except BaseException:
            self._close(line)
            raise
        return Question(self, line, idle, count)

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
        raise RedisConnectionError("This is not an answer to GET. The server may not be Redis.")

    def forget(self) -> None:
        idle, self._idle = self._idle, deque()
        while idle:
            with suppress(IndexError):
                self._close(idle.pop())

    def _take(self, idle: deque[Line]) -> Line:
        try:
            return idle.pop()
        except IndexError:
            return self._make()

    def _give_back(self, line: Line, idle: deque[Line]) -> None:
        if idle is self._idle:
            idle.append(line)
        else:  # ``forget`` was called meanwhile.
            self._close(line)

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


class Question:
    """What ``Lines.send`` has sent. One who will not call ``answers`` must ``close`` it."""

    __slots__ = ("_count", "_idle", "_line", "_lines")

    def __init__(self, lines: Lines, line: Line, idle: deque[Line], count: int) -> None:
        self._lines, self._idle, self._count = lines, idle, count
        self._line: Line | None = line

    def answers(self) -> list[Any]:
        """Wait for the answers: once; raises as ``Lines.ask``."""
        assert self._line
        try:
            answers = self._line.read(self._count)
        except BaseException:
            self.close()
            raise
        self._lines._give_back(self._line, self._idle)
        self._line = None
        return answers

    def close(self) -> None:
        """Close the line if its answers were not read: they are not the next one's."""
        if self._line:
            self._lines._close(self._line)
            self._line = None
