"""The protocol on a real Redis Cluster whose nodes are well."""

from contextlib import contextmanager
from uuid import UUID

import orjson
import pytest
from django.core.management import call_command
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

import cachelayer
from cachelayer.checks import redis as redis_checks
from cachelayer.operations import clear
from cachelayer.protocol import watchdog
from cachelayer.redis import (
    cluster_lines,
    incarnation,
    resp,
    scripts,
    shards,
    topology,
    transport,
)
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.cluster_notes import idle
from cachelayer.tests.outages import set_stars, stars

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("redis_cluster"),
    pytest.mark.timeout(120),
]


def test_a_row_is_filled_hit_and_pushed():
    note = Note.objects.create(stars=1)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    set_stars(note, 2)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 2
    assert not shard_gates.not_closed()


@pytest.fixture
def notes(monkeypatch):
    """Rows on every node, cached; with their number of stars."""
    # No thread sends its counts through what a test watches or breaks.
    monkeypatch.setattr(counters, "add", lambda *args: None)
    numbers = {UUID(int=n): n for n in range(1, 41)}
    Note.objects.bulk_create([Note(pk=pk, stars=n) for pk, n in numbers.items()])
    assert len({topology.address(shards.of(f"note:{pk}")) for pk in numbers}) == 3
    cachelayer.read_many(Note, numbers)
    return numbers


def test_all_nodes_are_asked_before_the_first_answer_is_awaited(notes, monkeypatch):
    steps = []
    for name in ("send", "read"):
        original = getattr(resp.Line, name)

        def noted(line, given, name=name, original=original):
            steps.append(name)
            return original(line, given)

        monkeypatch.setattr(resp.Line, name, noted)
    found = cachelayer.read_many(Note, notes)
    assert {read.outcome for read in found.values()} == {"hit"}
    assert steps == ["send"] * 3 + ["read"] * 3


def test_a_node_says_which_server_it_is_after_its_values(notes, monkeypatch):
    """Said before, it might have become a replica meanwhile, with a copy of the incarnation."""
    asked, ask = [], cluster_lines.ask
    monkeypatch.setattr(
        cluster_lines, "ask", lambda *given: asked.extend(given[0].values()) or ask(*given)
    )
    cachelayer.read_many(Note, notes)
    assert len(asked) == 3
    for commands in asked:
        assert {name for name, *_ in commands[:-1]} == {"MGET"}
        assert scripts.name(commands[-1]) == "who"


def test_a_replica_is_not_the_server_of_its_copy_of_the_incarnation(redis_cluster):
    primary = redis_cluster.primaries()[0]
    [key, *_] = primary.ask("KEYS", f"*{incarnation.KEY}")
    value = primary.ask("GET", key)
    said = [
        node.ask("EVAL", "return redis.call('INFO', 'replication')", 0)
        for node in (primary, redis_cluster.replica_of(primary))
    ]
    assert incarnation.trusted_by(value, said[0])
    assert not incarnation.trusted_by(value, said[1])


def test_answers_that_nobody_waits_for_are_not_those_of_the_next(notes, monkeypatch):
    read = resp.Line.read
    with monkeypatch.context() as patched:

        def interrupted(line, count):
            patched.setattr(resp.Line, "read", read)
            raise KeyboardInterrupt

        patched.setattr(resp.Line, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cachelayer.read_many(Note, notes)
    pools = cluster_lines._lines.values()
    assert [len(lines._idle) for lines in pools] == [lines._made for lines in pools]
    found = cachelayer.read_many(Note, notes)
    assert {pk: orjson.loads(read.row)["stars"] for pk, read in found.items()} == notes


def test_a_broken_connection_makes_room_for_the_next(notes, redis_cluster, monkeypatch):
    """Also where the pool has no more than that one."""
    for lines in cluster_lines._lines.values():
        monkeypatch.setattr(lines, "_most", lambda: 1)
    for node in redis_cluster.primaries():
        node.client.client_kill_filter(_type="normal", skipme=True)
    found = cachelayer.read_many(Note, notes)
    assert {read.outcome for read in found.values()} == {"hit"}


def test_shards_cover_the_slots_evenly():
    width = shards.SLOTS // shards.COUNT
    assert [slot // width for slot in shards.slots()] == list(range(shards.COUNT))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["cache_warm"], "note: 2 rows, 1 filled."),
        (["cache_verify"], "Compared 1 cached rows: 0 differences."),
        (["cache_clear", "--yes"], "Deleted 1"),
        (["cache_repair", "--once"], "Repaired 0"),
        (["cache_stats"], "cached_items         1"),
        (["cache_settings", "--acl"], "+cluster|slots"),
    ],
)
def test_every_command_does_its_work(command, says, capsys):
    Note.objects.bulk_create([Note(pk=1), Note(pk=2)])
    [*clear.clear_all()]
    assert cachelayer.read(Note, 1).row
    call_command(*command)
    assert says in capsys.readouterr().out


def problems(settings):
    return {problem.id: problem for problem in redis_checks.problems()}


def test_a_cluster_that_is_well_configured_has_no_problem(settings):
    assert problems(settings) == {}


def test_a_node_that_would_stop_for_another_is_a_warning(redis_cluster, settings):
    node = redis_cluster.primaries()[1]
    node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    try:
        assert f":{node.port}" in problems(settings)["cachelayer.W007"].msg
    finally:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")


def test_a_node_that_may_evict_marks_is_an_error_and_is_not_read(redis_cluster, settings):
    node = redis_cluster.primaries()[1]
    for name, value in (("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")):
        node.ask("CONFIG", "SET", name, value)
    try:
        assert "cachelayer.E023" in problems(settings)
        watchdog.check()
        assert {*shard_gates.not_closed()} == {*topology.shards_of(node.address())}
    finally:
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        node.ask("CONFIG", "SET", "maxmemory", "0")


def test_the_first_answer_of_a_node_that_may_evict_marks_is_no_hit(redis_cluster):
    """A new connection finds out while it is made for a read."""
    note = Note.objects.create(stars=1)
    node = redis_cluster.primary_of(f"note:{note.pk}")
    for name, value in (("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")):
        node.ask("CONFIG", "SET", name, value)
    try:
        transport.forget_connections()
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    finally:
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        node.ask("CONFIG", "SET", "maxmemory", "0")


def test_a_node_taken_for_one_redis_is_an_error(redis_cluster, settings):
    cache = settings.CACHES["default"]
    alone = f"redis://127.0.0.1:{redis_cluster.nodes[0].port}/0"
    options = {k: v for k, v in cache["OPTIONS"].items() if k != "CONNECTION_FACTORY"}
    settings.CACHES = {"default": {**cache, "LOCATION": alone, "OPTIONS": options}}
    transport.forget_connections()
    assert "cachelayer.E027" in problems(settings)
    settings.CACHES = {"default": cache}
    transport.forget_connections()


def test_one_redis_taken_for_a_cluster_is_an_error(other_redis, settings):
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": other_redis.url}}
    transport.forget_connections()
    assert {*problems(settings)} == {"cachelayer.E028"}
    settings.CACHES = {"default": cache}
    transport.forget_connections()


def test_a_user_who_may_do_just_what_the_cache_needs(redis_cluster, settings):
    rules = redis_checks.acl().split()
    for node in redis_cluster.nodes:
        node.ask("ACL", "SETUSER", "cache", "on", ">secret", *rules)
    cache = settings.CACHES["default"]
    options = {**cache["OPTIONS"], "USERNAME": "cache", "PASSWORD": "secret"}
    settings.CACHES = {"default": {**cache, "OPTIONS": options}}
    transport.forget_connections()
    note = Note.objects.create(stars=1)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    found = problems(settings)
    assert {*found} <= {"cachelayer.E021"}, found
    assert not found, found["cachelayer.E021"]
    settings.CACHES = {"default": cache}
    transport.forget_connections()


def test_a_node_that_knows_no_slots_is_not_believed(redis_cluster, tmp_path, monkeypatch):
    """It has lost its configuration. The others still serve the slots, and are read."""
    alone = type(redis_cluster.nodes[0])(tmp_path / "alone")
    alone.start()
    try:
        before = topology.address(0)
        monkeypatch.setattr(
            topology.random, "sample", lambda known, count: [alone.address(), *known]
        )
        topology.refresh()
        assert topology.address(0) == before
    finally:
        alone.kill()


def test_nodes_that_do_not_answer_are_not_asked_again_for_each_shard(settings, monkeypatch):
    """A write of many rows would wait for a timeout for each of them."""
    asked = []

    @contextmanager
    def connection_to(node):
        asked.append(node)
        raise RedisTimeoutError("Timeout connecting to server")
        yield

    monkeypatch.setattr(shard_gates, "reconcile", idle)
    settings.CACHELAYER = {**settings.CACHELAYER, "PROBE_INTERVAL": 3600}
    topology.forget()
    with monkeypatch.context() as patched:
        patched.setattr(topology, "connection_to", connection_to)
        for shard in range(10):
            with pytest.raises(RedisError, match="Timeout connecting"):
                topology.address(shard)
        assert len(asked) == len({*asked}) == 2, "the seeds"
        topology._map.refused_at -= 3600
        with pytest.raises(RedisError):
            topology.primaries()
        assert len(asked) == 4
    topology.refresh()
    assert len(topology.primaries()) == 3
