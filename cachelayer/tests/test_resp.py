"""The short way to Redis keeps what the long way keeps: gate, budget, incarnation, timeouts."""

import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

import cachelayer
from cachelayer import timing
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import incarnation, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.redis.resp import Line, Lines, pack, pack_get
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.outages import closed, set_stars, until

pytestmark = pytest.mark.django_db(transaction=True)


def get(key):
    [value] = transport.get([key])
    return value


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 3_000_000])
def test_it_gives_what_redis_holds(size):
    transport.client().set("note:x", b"x" * size)
    assert get("note:x") == b"x" * size
    assert get("note:absent") is None


@pytest.mark.parametrize("count", [1, 2, 50, 3000])
def test_several_values_come_in_the_order_of_their_keys(count):
    keys = [f"note:{number}" for number in range(count)]
    values = [str(number).encode() * 100 for number in range(count)]
    transport.client().mset(dict(zip(keys[1:], values[1:], strict=True)) or {"other": "x"})
    assert transport.get(keys) == [None, *values[1:]]


def test_threads_get_their_own_answers():
    for number in range(50):
        transport.client().set(f"note:{number}", str(number) * 1000)

    def ask(number):
        return get(f"note:{number % 50}") == str(number % 50).encode() * 1000

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(2000)))
    assert len(transport._lines._idle) <= 8


def test_what_is_no_string_is_somebody_elses():
    transport.client().rpush("note:list", "x")
    with pytest.raises(CacheUnavailable, match="WRONGTYPE"):
        get("note:list")
    assert gate.mode is Mode.CLOSED
    assert get("note:absent") is None


def test_the_budget_of_a_request_holds():
    get("note:x")
    with timing.measure() as spent:
        spent.redis = 60_000.0
        with pytest.raises(CacheUnavailable, match="used up its time"):
            get("note:x")


def test_a_restarted_redis_is_noticed_before_anything_is_read(own_redis):
    note = Note.objects.create()
    key = f"note:{note.pk}"
    assert get(key) is not None
    transport.client().save()
    own_redis.stop()
    own_redis.start()
    assert transport.client().get(key) is not None, "it has come back with its data"
    with pytest.raises(CacheUnavailable):
        get(key)
    assert gate.mode is not Mode.CLOSED
    assert cachelayer.read(Note, note.pk).outcome == "bypass"


def test_a_reader_goes_on_where_only_its_connection_broke(own_redis):
    note = Note.objects.create()
    get(f"note:{note.pk}")
    transport.client().client_kill_filter(_type="normal", skipme=True)
    assert get(f"note:{note.pk}") == cachelayer.render(note)
    assert gate.mode is Mode.CLOSED


def test_a_paused_redis_costs_one_timeout_and_its_late_answer_is_nobodys(own_redis, quick):
    first, second = Note.objects.create(), Note.objects.create(stars=2)
    get(f"note:{first.pk}")
    own_redis.pause()
    try:
        with pytest.raises(CacheUnavailable):
            get(f"note:{first.pk}")
        assert gate.mode is not Mode.CLOSED
    finally:
        own_redis.resume()
    until(closed)
    assert get(f"note:{second.pk}") in (None, cachelayer.render(second))


def test_a_reconcile_makes_every_connection_verify_anew(monkeypatch):
    get("note:x")
    looks = []
    look = incarnation.fetch
    monkeypatch.setattr(incarnation, "fetch", lambda conn: looks.append(conn) or look(conn))
    get("note:x")
    assert not looks
    transport.forget_connections()
    get("note:x")
    assert len(looks) == 1


def test_a_connection_that_is_in_use_when_all_are_forgotten_is_not_used_again(monkeypatch):
    get("note:x")
    [line] = transport._lines._idle
    line_ask = Line.ask

    def forgotten_meanwhile(self, packed, count):
        transport.forget_connections()
        return line_ask(self, packed, count)

    monkeypatch.setattr(Line, "ask", forgotten_meanwhile)
    get("note:x")
    assert line not in transport._lines._idle


def test_a_forked_child_has_connections_of_its_own():
    transport.client().set("note:x", "parent")
    get("note:x")
    [line] = transport._lines._idle
    child = os.fork()
    if not child:
        try:
            fine = not transport._lines._idle and get("note:x") == b"parent"
        except BaseException:
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get("note:x") == b"parent"
    assert list(transport._lines._idle) == [line]


class Connection:
    """What redis-py would give, to a server that the test plays."""

    class Parser:
        def parse_error(self, text):
            return RedisConnectionError(text) if "LOADING" in text else ResponseError(text)

    _parser = Parser()
    socket_timeout = 0.2

    def __init__(self):
        self._sock, self.server = socket.socketpair()
        self._sock.settimeout(self.socket_timeout)

    def connect(self):
        pass

    def disconnect(self):
        self._sock.close()


def ask(line):
    [answer] = line.ask(pack_get(["x"]), 1)
    return answer


def test_commands_are_packed_as_redis_py_packs_them():
    commands = [
        ("SET", "ключ", b"\x00\r\n", "PX", 1000),
        ("EVALSHA", "0" * 40, 2, "a", "b", 1.5, ""),
        ("MGET", *"abc"),
    ]
    with transport.fresh_connection() as connection:
        for count in (1, 3):
            theirs = b"".join(connection.pack_commands(commands[:count]))
            assert pack(*commands[:count]) == theirs


def test_there_are_never_more_lines_than_the_pool_allows(monkeypatch):
    monkeypatch.setattr(transport, "_lines", Lines(transport._new_connection, lambda: 1))
    get("note:x")
    line_ask = Line.ask

    def ask_at_once(self, packed, count):
        with monkeypatch.context() as inner:
            inner.setattr(Line, "ask", line_ask)
            with pytest.raises(CacheUnavailable, match="Too many"):
                get("note:x")
        return line_ask(self, packed, count)

    monkeypatch.setattr(Line, "ask", ask_at_once)
    get("note:x")
    assert gate.mode is Mode.CLOSED


@pytest.fixture
def connection():
    made = Connection()
    yield made
    made.disconnect()
    made.server.close()


def test_an_answer_in_pieces_is_put_together(connection):
    line = Line(connection)

    def answer():
        connection.server.recv(1000)
        for piece in (b"$1", b"0\r", b"\n01234", b"56789", b"\r\n"):
            connection.server.sendall(piece)
            threading.Event().wait(0.01)

    thread = threading.Thread(target=answer)
    thread.start()
    assert ask(line) == b"0123456789"
    thread.join()


@pytest.mark.parametrize("count", [1, 2])
def test_an_answer_that_trickles_is_given_up(connection, count):
    line = Line(connection)
    over = threading.Event()

    def trickle():
        connection.server.recv(1000)
        connection.server.sendall(b"$100000\r\n")
        while not over.wait(0.02):
            connection.server.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(RedisTimeoutError):
        line.ask(pack_get(["x"]), count)
    over.set()
    thread.join()


def test_what_redis_says_unasked_is_no_answer(connection):
    connection.server.sendall(b">2\r\n$4\r\nnews\r\n$1\r\nx\r\n$3\r\nrow\r\n")
    assert ask(Line(connection)) == b"row"


def test_no_answer_a_closed_connection_and_a_loading_server_are_told_apart(connection):
    line = Line(connection)
    with pytest.raises(RedisTimeoutError):
        ask(line)
    connection.server.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
    with pytest.raises(RedisConnectionError, match="LOADING"):
        ask(line)
    connection.server.close()
    with pytest.raises(RedisConnectionError):
        ask(line)


def is_refused(connection, *parts):
    """What comes is taken for a broken connection, whatever it is."""
    line = Line(connection)
    for part in parts:
        connection.server.sendall(part)
    with pytest.raises(RedisConnectionError):
        ask(line)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x16", id="TLS"),
        pytest.param(b"$x\r\n", id="no length"),
        pytest.param(b"%1\r\n*0\r\n$1\r\na\r\n", id="a key that is no key"),
    ],
)
def test_bytes_that_are_no_answer_are_a_broken_connection(connection, received):
    is_refused(connection, received)


@pytest.mark.parametrize("more", [b"$3\r\nold\r\n", b"$3\r\nol", b"x"])
def test_more_than_was_asked_for_is_a_broken_connection(connection, more):
    """Left there, it would be the answer to the next command: another row's bytes."""
    is_refused(connection, b"$3\r\nrow\r\n" + more)


def test_whatever_comes_is_an_answer_or_a_redis_error():
    chance = random.Random(15)
    alphabet = b"*$+-:_,(#!=%~>|.\r\n0123456789a\xff\x00"
    for _ in range(3000):
        made = Connection()
        line = Line(made)
        made.server.sendall(bytes(chance.choices(alphabet, k=chance.randint(1, 30))) + b"\r\n")
        made.server.close()
        with suppress(RedisError):
            line.ask(pack_get(["x"]), 1)
        line.close()


class Stranger:
    """A server on 127.0.0.1 that answers *said* to whatever it is sent, or what *said* makes."""

    def __init__(self, said):
        self._said = said
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection):
        with suppress(OSError), connection:
            while connection.recv(65536):
                connection.sendall(self._said)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", b":1\r\n", b"%1\r\n*0\r\n+a\r\n", b"*-1\r\n"],
)
def test_a_stranger_at_the_address_costs_no_request_its_answer(settings, quick, said):
    """In place of Redis: a proxy, a load balancer, another program that took its port."""
    note = Note.objects.create(stars=1)
    with Stranger(said) as stranger:
        cache = settings.CACHES["default"]
        options = {**cache["OPTIONS"], "SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
        location = f"redis://127.0.0.1:{stranger.port}/0"
        settings.CACHES = {"default": {**cache, "LOCATION": location, "OPTIONS": options}}
        transport.forget_connections()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        set_stars(note, 2)
        assert cachelayer.read(Note, note.pk).row == cachelayer.render(note)
        assert gate.mode is not Mode.CLOSED
    settings.CACHES = {"default": cache}
    transport.forget_connections()
    until(closed)


@pytest.mark.parametrize("said", [5, 1.5, [b"row"], {b"row": b"row"}, True])
def test_what_no_get_answers_is_a_broken_connection(monkeypatch, said):
    """One such answer, and a fresh connection gives the right one."""
    transport.client().set("note:x", "row")
    get("note:x")
    answers = [[said]]
    line_ask = Line.ask
    monkeypatch.setattr(
        Line, "ask", lambda self, *args: answers.pop() if answers else line_ask(self, *args)
    )
    assert get("note:x") == b"row"
    assert not answers
    assert gate.mode is Mode.CLOSED


@pytest.mark.parametrize("value", [b"\xff\xfe", b"", b"a b c", "ключ".encode()])
def test_an_incarnation_that_somebody_else_wrote_is_not_trusted(own_redis, quick, value):
    note = Note.objects.create(stars=1)
    transport.client().set(incarnation.KEY, value)
    transport.forget_connections()
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    until(closed)
