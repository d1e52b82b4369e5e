"""The schedule of faults, the proxy that cuts a process off, and what excuses a failure."""

import contextlib
import json
import queue
import socket
import threading
from dataclasses import replace

import pytest

from loadtest import network
from loadtest.clients import Keys, rows_in
from loadtest.fault_injection import NAMES, Fault, Outcome, in_pairs, names, schedule
from loadtest.lists import ListRead
from loadtest.proxy import Proxy
from loadtest.record import Failure, Record
from loadtest.redis_servers import KINDS
from loadtest.verdict import AtRest, Bounds, judge

SECOND = 1_000_000_000
WELL = AtRest(api={}, postgres={}, verify=0, recovered=True)


def test_the_same_seed_gives_the_same_faults():
    assert schedule(7, 60, NAMES) == schedule(7, 60, NAMES)
    assert schedule(7, 60, NAMES) != schedule(8, 60, NAMES)


@pytest.mark.parametrize("seed", range(20))
def test_a_short_storm_has_every_fault(seed):
    planned = schedule(seed, 16, NAMES)
    assert {fault.name for fault in planned} == set(NAMES)
    assert all(0 < fault.at <= 15 for fault in planned)


@pytest.mark.parametrize("servers", KINDS.values())
def test_two_faults_at_a_time_do_not_concern_the_same_server(servers):
    known = names(servers)
    planned = schedule(3, 600, known)
    pairs = in_pairs(3, planned, servers, known)
    assert [first for first, _ in pairs] == planned
    assert all(first.at == second.at for first, second in pairs)
    of_redis = {*servers.NAMES}
    assert all((first.name in of_redis) is not (second.name in of_redis) for first, second in pairs)
    assert {fault.name for pair in pairs for fault in pair} == set(known)
    assert in_pairs(3, planned, servers, known) == pairs


def test_where_all_concern_redis_no_second_one_happens():
    servers = KINDS["single"]
    planned = schedule(3, 60, servers.NAMES)
    assert in_pairs(3, planned, servers, servers.NAMES) == [(fault,) for fault in planned]


@pytest.mark.parametrize("possible", [True, False])
def test_a_host_is_cut_off_from_servers_that_tell_addresses_where_it_can_have_a_network(
    monkeypatch, possible
):
    monkeypatch.setattr(network, "can_be_made", lambda: possible)
    assert "cut" in names(KINDS["single"])
    assert ("cut" in names(KINDS["sentinel"])) is possible
    assert "cut-postgres" in names(KINDS["cluster"])


def test_no_faults_are_possible():
    assert schedule(1, 60, []) == []


@pytest.fixture
def echo(taking):
    """A port that answers with what it is sent."""
    return taking[0]


@pytest.fixture
def taking():
    """Such a port, and what it has been sent."""
    server, taken = socket.create_server(("127.0.0.1", 0)), queue.Queue()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(100):
                taken.put(data)
                connection.sendall(data)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], taken
    server.close()


def test_the_proxy_forwards_swallows_and_refuses(echo):
    proxy = Proxy(echo)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        proxy.swallow()
        connection.settimeout(0.2)
        connection.sendall(b"two")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.mend()
        connection.settimeout(5)
        assert connection.recv(100) == b"two"
        proxy.refuse()
        assert _is_broken(connection)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        assert _is_broken(connection)
    proxy.mend()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        connection.sendall(b"three")
        assert connection.recv(100) == b"three"
    proxy.close()


def test_in_one_direction_all_arrives_and_nothing_comes_back(taking):
    port, taken = taking
    proxy = Proxy(port)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        proxy.hold_answers()
        connection.sendall(b"one")
        assert taken.get(timeout=5) == b"one"
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.mend()
        connection.settimeout(5)
        assert connection.recv(100) == b"one"
    proxy.close()


def _is_broken(connection):
    try:
        return connection.recv(100) == b""
    except OSError:
        return True


def outcome(name, start, end):
    return Outcome(Fault(name, 0, 0), start * SECOND, end * SECOND, "")


def verdict(record, outcomes=(), rest=WELL, keys=None):
    return judge(record, keys or Keys(), list(outcomes), rest, Bounds(partition=1, sql=1))


def stale_read(key, at):
    """Written at 10 s and at 20 s; the first value is read at *at* s."""
    record = Record()
    for value, time in (("old", 10), ("new", 20)):
        record.write(key, value, time * SECOND, "PUT")
    record.read(key, "old", at * SECOND, "GET")
    record.operations = [
        type(op)(op.key, op.kind, op.value, op.start, op.start + SECOND // 1000)
        for op in record.operations
    ]
    return record


def rest_of(key, value):
    return AtRest(api={key: value}, postgres={key: value}, verify=0, recovered=True)


def test_a_stale_read_breaks_the_promise():
    assert not verdict(stale_read("k", 22), rest=rest_of("k", "new")).kept


def test_a_stale_read_after_a_pause_is_within_its_bound_or_not():
    pause = [outcome("pause", 19, 21)]
    within = verdict(stale_read("k", 21.5), pause, rest_of("k", "new"))
    assert within.kept
    assert within.numbers["worst staleness in ms"]["elsewhere"] == 0
    assert not verdict(stale_read("k", 23), pause, rest_of("k", "new")).kept
    # A cut concerns only what the server that was cut off writes.
    cut = [outcome("cut", 19, 21)]
    assert not verdict(stale_read("k", 21.5), cut, rest_of("k", "new")).kept
    island = Keys(island=["k"])
    assert verdict(stale_read("k", 21.5), cut, rest_of("k", "new"), island).kept


def stale_page(at, **server):
    """As ``stale_read``, on a page."""
    record = stale_read("k", 15)
    start = round(at * SECOND)
    record.page(ListRead(10, (("k", "old"),), False, start, start + SECOND // 1000, **server))
    return record


def test_a_stale_page_breaks_the_promise_beyond_its_bound():
    after, rest = [outcome("pause", 19, 21)], rest_of("k", "new")
    assert verdict(stale_page(15), rest=rest).kept
    found = verdict(stale_page(22), rest=rest)
    assert (found.kept, found.violations) == (False, [])
    assert found.numbers["pages, violations"] == 1
    assert found.numbers["pages, worst staleness in ms"]["elsewhere"] > 1900
    assert verdict(stale_page(21.5), after, rest).kept
    assert verdict(stale_page(21.5), rest=rest, keys=Keys(by_sql=["k"])).kept is False
    assert verdict(stale_page(20.9), rest=rest, keys=Keys(made_by_sql=["k"])).kept


def test_every_row_of_a_page_may_be_stale_where_its_server_is_cut_off():
    cut, rest = [outcome("cut", 19, 21)], rest_of("k", "new")
    assert verdict(stale_page(21.5, cut_off=True), cut, rest).kept
    assert not verdict(stale_page(21.5), cut, rest).kept
    strict = Bounds(partition=1, sql=1, strict=True)
    assert not judge(stale_page(21.5, cut_off=True), Keys(), cut, rest, strict).kept


def test_other_pages_at_rest_break_the_promise():
    assert not verdict(Record(), rest=replace(WELL, wrong_pages=1)).kept


@pytest.mark.parametrize("between", ["", " "])
def test_the_rows_of_a_page_and_their_bytes(between):
    rows = ['{"id": "1", "name": "] ,"}', '{"id":"2","name":"\u00e9"}']
    page = f'{{"items":{between}[{f",{between}".join(rows)}], "next": null}}'.encode()
    assert list(rows_in(page)) == [(json.loads(row), row.encode()) for row in rows]
    assert list(rows_in(b'{"items":[],"next":null}')) == []


def test_a_row_has_one_place_in_the_list():
    record = Record()
    record.created("k", "2026-01-02T03:04:05.000006Z")
    record.created("k", "2026-01-02 04:04:05.000006+01:00")
    assert not record.torn
    record.created("k", "2026-01-02T03:04:05Z")
    assert record.torn


def test_plain_sql_has_a_second():
    keys = Keys(by_sql=["k"])
    assert verdict(stale_read("k", 20.9), rest=rest_of("k", "new"), keys=keys).kept
    assert not verdict(stale_read("k", 21.2), rest=rest_of("k", "new"), keys=keys).kept


def test_a_lost_write_breaks_the_promise():
    record = stale_read("k", 15)
    found = verdict(record, rest=rest_of("k", "old"))
    assert found.numbers["lost writes"] == 1
    assert not found.violations
    assert not found.kept


def test_a_difference_at_rest_breaks_the_promise():
    rest = AtRest(api={"k": "old"}, postgres={"k": "new"}, verify=0, recovered=True)
    assert not verdict(stale_read("k", 15), rest=rest).kept
    assert not verdict(Record(), rest=AtRest({}, {}, verify=1, recovered=True)).kept
    assert not verdict(Record(), rest=AtRest({}, {}, verify=0, recovered=False)).kept


def test_two_bodies_for_one_write_break_the_promise():
    record = Record()
    record.row("k", "v", b'{"price": 1}')
    record.row("k", "v", b'{"price": 1}')
    assert verdict(record).kept
    record.row("k", "v", b'{"price": 2}')
    assert not verdict(record).kept


@pytest.mark.parametrize(
    ("what", "fault", "kept"),
    [
        ("GET 503", "postgres", True),
        ("GET 503", "redis-empty", False),
        ("PUT ConnectionResetError", "kill-worker", True),
        ("PUT ConnectionResetError", "redis-old", False),
        ("GET 500", "postgres", False),
    ],
)
def test_a_request_may_fail_only_for_its_fault(what, fault, kept):
    record = Record()
    record.failures.append(Failure(10 * SECOND, 11 * SECOND, what, ""))
    assert verdict(record, [outcome(fault, 10.5, 12)]).kept is kept
    assert not verdict(record, [outcome(fault, 30, 31)]).kept


@pytest.mark.parametrize(("server", "kept"), [("a:1", True), ("b:2", False)])
def test_a_request_may_be_refused_only_by_the_host_that_was_cut_off(server, kept):
    record = Record()
    record.failures.append(Failure(10 * SECOND, 11 * SECOND, "PUT 503", server))
    cut = replace(outcome("cut-postgres", 10, 12), server="a:1")
    assert verdict(record, [cut]).kept is kept
