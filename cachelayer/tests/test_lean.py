"""The short way to Redis keeps what the long way keeps: gate, budget, incarnation, timeouts."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

import cachelayer
from cachelayer import incarnation, link, timing
from cachelayer.gate import CacheUnavailable, Mode, gate
from cachelayer.lean import Line, pack, pack_get
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.faults import closed, until

pytestmark = pytest.mark.django_db(transaction=True)


def get(key):
    [value] = link.get([key])
    return value


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 3_000_000])
def test_it_gives_what_redis_holds(size):
    link.client().set("note:x", b"x" * size)
    assert get("note:x") == b"x" * size
    assert get("note:absent") is None


@pytest.mark.parametrize("count", [1, 2, 50, 3000])
def test_several_values_come_in_the_order_of_their_keys(count):
    keys = [f"note:{number}" for number in range(count)]
    values = [str(number).encode() * 100 for number in range(count)]
    link.client().mset(dict(zip(keys[1:], values[1:], strict=True)) or {"other": "x"})
    assert link.get(keys) == [None, *values[1:]]


def test_threads_get_their_own_answers():
    for number in range(50):
        link.client().set(f"note:{number}", str(number) * 1000)

    def ask(number):
        return get(f"note:{number % 50}") == str(number % 50).encode() * 1000

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(2000)))
    assert len(link._lines._idle) <= 8


def test_what_is_no_string_is_somebody_elses():
    link.client().rpush("note:list", "x")
    with pytest.raises(CacheUnavailable, match="WRONGTYPE"):
        get("note:list")
    assert gate.mode is Mode.CLOSED
    assert get("note:absent") is None


def test_the_budget_of_a_request_holds():
    get("note:x")
    with timing.measure() as spent:
        spent.redis = 60_000.0
        with pytest.raises(CacheUnavailable, match="spent its time"):
            get("note:x")


def test_a_restarted_redis_is_noticed_before_anything_is_read(own_redis):
    note = Note.objects.create()
    key = f"note:{note.pk}"
    assert get(key) is not None
    link.client().save()
    own_redis.stop()
    own_redis.start()
    assert link.client().get(key) is not None, "it has come back with its data"
    with pytest.raises(CacheUnavailable):
        get(key)
    assert gate.mode is not Mode.CLOSED
    assert cachelayer.read(Note, note.pk).outcome == "bypass"


def test_a_reader_goes_on_where_only_its_connection_broke(own_redis):
    note = Note.objects.create()
    get(f"note:{note.pk}")
    link.client().client_kill_filter(_type="normal", skipme=True)
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
    look = incarnation.look
    monkeypatch.setattr(incarnation, "look", lambda conn: looks.append(conn) or look(conn))
    get("note:x")
    assert not looks
    link.forget_connections()
    get("note:x")
    assert len(looks) == 1


def test_a_connection_that_is_in_use_when_all_are_forgotten_is_not_used_again(monkeypatch):
    get("note:x")
    [line] = link._lines._idle
    line_ask = Line.ask

    def forgotten_meanwhile(self, packed, count):
        link.forget_connections()
        return line_ask(self, packed, count)

    monkeypatch.setattr(Line, "ask", forgotten_meanwhile)
    get("note:x")
    assert line not in link._lines._idle


def test_a_forked_child_has_connections_of_its_own():
    link.client().set("note:x", "parent")
    get("note:x")
    [line] = link._lines._idle
    child = os.fork()
    if not child:
        try:
            fine = not link._lines._idle and get("note:x") == b"parent"
        except BaseException:
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get("note:x") == b"parent"
    assert list(link._lines._idle) == [line]


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
    with link.fresh_connection() as connection:
        for count in (1, 3):
            theirs = b"".join(connection.pack_commands(commands[:count]))
            assert pack(*commands[:count]) == theirs


def test_there_are_never_more_lines_than_the_pool_allows(monkeypatch):
    monkeypatch.setattr(link.pool(), "max_connections", 1)
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


def test_an_answer_that_trickles_is_given_up(connection):
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
        ask(line)
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
