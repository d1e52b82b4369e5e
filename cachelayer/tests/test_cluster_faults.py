"""What happens to single nodes of a real Redis Cluster: no read is stale, and others hit."""

from contextlib import suppress
from dataclasses import replace

import orjson
import pytest
import redis
from django.db import connection, transaction

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.operations import clear, verify, warm
from cachelayer.protocol import (
    drain,
    drain_shards,
    key_states,
    partition,
    reconcile_shards,
    scan,
    shard_states,
    signs_of_life,
    stamps,
)
from cachelayer.protocol.key_values import is_lease
from cachelayer.redis import batches, epoch, keyspace, shards, topology, transport
from cachelayer.redis.gate import Mode
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.novels import Novel, Person, Writer
from cachelayer.tests.cluster_notes import (
    closed,
    idle,
    key_of,
    notes_by_node,
    notes_on_each_node,
    outcome,
    stored,
)
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.outages import set_stars, stars
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("quick", "patient"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def answer_time():
    """Nodes are paused here."""
    return 0.5


def test_a_node_that_is_away_takes_only_its_keys_with_it(redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    [gone] = by_port.pop(away.port)
    others = [note for [note] in by_port.values()]
    for node in (away, replica):
        node.pause()
    assert outcome(gone) == "bypass"
    assert [outcome(note) for note in others] == ["hit", "hit"]
    for note in [gone, *others]:
        set_stars(note, 2)
    assert [stars(note) for note in [gone, *others]] == [2, 2, 2]
    assert [outcome(note) for note in others] == ["hit", "hit"]
    assert shard_gates.state(shards.of(key_of(gone))).mode is Mode.OPEN
    assert all(shard_gates.state(shards.of(key_of(note))).mode is Mode.CLOSED for note in others)
    assert Repair.objects.filter(key=key_of(gone)).exists()
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    assert stars(gone) == 2
    until(lambda: outcome(gone) == "hit")
    assert stars(gone) == 2
    assert not Repair.objects.exists()


def test_the_cluster_answers_while_one_of_its_nodes_does_not(redis_cluster):
    """``/health`` asks; how many keys there are, nobody knows then."""
    [away, *_] = sorted(redis_cluster.primaries(), key=lambda node: node.address())
    replica = redis_cluster.replica_of(away)
    assert transport.round_trip(("PING",), ("DBSIZE",))[1] > 0
    for node in (away, replica):
        node.pause()
    assert transport.ping()
    with pytest.raises(CacheUnavailable):
        transport.round_trip(("DBSIZE",))
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)


def test_rows_of_several_nodes_are_hits_but_for_those_of_the_one_that_is_away(redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    notes = {port: note for port, [note] in by_port.items()}
    for node in (away, replica):
        node.pause()
    found = cachelayer.read_many(Note, [note.pk for note in notes.values()])
    assert {port: found[note.pk].outcome for port, note in notes.items()} == {
        port: "bypass" if port == away.port else "hit" for port in notes
    }
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)


def test_bulk_commands_do_not_pass_over_rows_of_a_node_that_is_away(redis_cluster, monkeypatch):
    """Else "every row is cached" and "no difference" would be said of rows that nobody has seen."""
    by_port = notes_by_node(redis_cluster)
    keys = [key_of(note) for [note] in by_port.values()]
    [*clear.clear_all()]
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    for node in (away, replica):
        node.pause()
    with monkeypatch.context() as patched:
        patched.setattr(batches, "_PATIENCE", 0.1)
        with pytest.raises(CacheUnavailable):
            [*warm.warm(Note)]
        with pytest.raises(CacheUnavailable):
            verify.compare(registry.get(Note), keys)
        with pytest.raises(CacheUnavailable):
            [*verify.verify()]
        with pytest.raises(CacheUnavailable):
            [*clear.clear_all()]
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    # 1. The lease for the row of the node that was away had timed out. 2. The node carries it out
    # when it is back. 3. If it has not failed over, no reconcile deletes the lease. 4. While it
    # lasts, the row is left to its holder.
    until(lambda: not any(is_lease(key_states.peek(key)[0]) for key in keys))
    assert [*warm.warm(Note)][-1][0] == 3
    assert {outcome(note) for [note] in by_port.values()} == {"hit"}
    report = [*verify.verify()][-1]
    assert (report.compared, report.differing) == (3, 0)


def test_a_cluster_that_is_switched_off_is_not_said_to_be_warm(redis_cluster, settings):
    """As one Redis: who asks for the cache is told that there is none."""
    Note.objects.create(stars=1)
    settings.CACHELAYER = {**settings.CACHELAYER, "ENABLED": False}
    with pytest.raises(CacheUnavailable, match="switched off"):
        [*warm.warm(Note)]


def test_a_replica_that_lags_takes_over(own_cluster):
    by_port = notes_on_each_node(own_cluster)
    primary = own_cluster.primaries()[0]
    replica = own_cluster.replica_of(primary)
    [note] = by_port.pop(primary.port)
    others = [each for [each] in by_port.values()]
    until(lambda: replica.info("master_repl_offset") == primary.info("master_repl_offset"))
    # What comes now never reaches the replica: not the mark, nor the push.
    replica.pause()
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    set_stars(note, 2)
    assert stars(note) == 2
    assert outcome(note) == "hit"
    primary.kill()
    replica.resume()
    until(replica.is_primary)
    assert b'"stars":1' in replica.client.execute_command("GET", keyspace.of(key_of(note)))
    assert stars(note) == 2
    assert [outcome(each) for each in others] == ["hit", "hit"]
    until(lambda: stars(note) == 2 and closed())
    until(lambda: stars(note) == 2 and outcome(note) == "hit")
    assert topology.address(shards.of(key_of(note))) == replica.address()


def test_a_process_that_has_noticed_nothing_does_not_read_what_lags(own_cluster, monkeypatch):
    by_port = notes_on_each_node(own_cluster)
    primary = own_cluster.primaries()[0]
    replica = own_cluster.replica_of(primary)
    [note] = by_port.pop(primary.port)
    until(lambda: replica.info("master_repl_offset") == primary.info("master_repl_offset"))
    monkeypatch.setattr(shard_gates, "reconcile", idle)
    replica.pause()
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    set_stars(note, 2)
    primary.kill()
    replica.resume()
    until(replica.is_primary)
    # As another process, whose first connection leads to the replica.
    transport.forget_connections()
    shard_gates.start_afresh()
    until(lambda: own_cluster.primary_of(key_of(note)) is replica)
    assert b'"stars":1' in stored(replica, note)
    assert stars(note) == 2


def test_a_writer_marks_a_replica_that_has_taken_over_in_vain(own_cluster):
    """It is not reconciled yet: who still reads the former primary would not see the mark."""
    by_port = notes_on_each_node(own_cluster)
    primary = own_cluster.primaries()[0]
    replica = own_cluster.replica_of(primary)
    [note] = by_port.pop(primary.port)
    shard_gates.reconcile = idle
    try:
        replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        until(replica.is_primary)
        until(lambda: not primary.is_primary())
        set_stars(note, 2)
        assert Repair.objects.filter(key=key_of(note)).exists()
        assert stars(note) == 2
    finally:
        shard_gates.reconcile = reconcile_shards.until_closed
    until(lambda: stars(note) == 2 and closed())


def test_flushall_on_one_node(redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    flushed = redis_cluster.primaries()[1]
    [note] = by_port.pop(flushed.port)
    flushed.ask("FLUSHALL")
    assert outcome(note) == "bypass"
    assert [outcome(each) for [each] in by_port.values()] == ["hit", "hit"]
    set_stars(note, 2)
    until(closed)
    assert stars(note) == 2
    until(lambda: outcome(note) == "hit")


def test_a_node_that_holds_writes_back_gives_no_hits(redis_cluster):
    """As before a planned fail-over: it goes on answering MGET and INFO, and takes no mark."""
    by_port = notes_on_each_node(redis_cluster)
    [paused, *_] = redis_cluster.primaries()
    [note] = by_port.pop(paused.port)
    paused.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        assert outcome(note) == "bypass"
        assert [outcome(each) for [each] in by_port.values()] == ["hit", "hit"]
    finally:
        paused.ask("CLIENT", "UNPAUSE")
    until(closed)


def sign_of(shard):
    [seen] = shard_states.see(shard_gates, [shard]).values()
    return seen.sign


def test_a_sweep_gives_signs_of_life_for_each_shard(redis_cluster, monkeypatch):
    """Else other processes would take a long one over, one after the other."""
    [note], *_ = notes_on_each_node(redis_cluster).values()
    shard = shards.of(key_of(note))
    with stopped(key_states, "repair") as repair:
        redis_cluster.primary_of(key_of(note)).ask("FLUSHALL")
        redis_cluster.primary_of(key_of(note)).ask("SET", keyspace.of(key_of(note)), "{}")
        assert outcome(note) == "bypass"
        repair.reached()
        first = sign_of(shard)
        assert first.startswith(b"settling ")
        # As another process that has noticed the flush, and is about to take over.
        [seen] = shard_states.see(shard_gates, [shard]).values()
        monkeypatch.setattr(signs_of_life, "ABANDONED", 0)
        others = reconcile_shards._Memory()
        assert not reconcile_shards._is_abandoned(shard, seen, others)
        later = replace(seen, sign=b"settling 7 9")
        assert not reconcile_shards._is_abandoned(shard, later, others)
        assert reconcile_shards._is_abandoned(shard, later, others)
        monkeypatch.undo()
        repair.release()
    until(closed)


def test_a_step_of_a_sweep_without_an_answer_is_asked_again(redis_cluster, monkeypatch):
    [note], *_ = notes_on_each_node(redis_cluster).values()
    before, scan_node, lost = int(epoch.known()), scan._scan_node, []

    def lose_one(*arguments):
        if not lost:
            lost.append(arguments)
            raise CacheUnavailable("No answer came.")
        return scan_node(*arguments)

    monkeypatch.setattr(scan, "_scan_node", lose_one)
    redis_cluster.primary_of(key_of(note)).ask("FLUSHALL")
    assert outcome(note) == "bypass"
    until(closed)
    assert lost
    assert int(epoch.known()) == before + 1


def document_across_nodes(found):
    """A writer and a novel that shows her; the novel's document and her stamp are on two nodes."""
    while True:
        writer = Writer.objects.create(name="Ann")
        novel = Novel.objects.create(title="One", writer=writer)
        stamp = f"@bookshop_person.id:{writer.pk}"
        if found.primary_of(f"novel:{novel.pk}") is not found.primary_of(stamp):
            break
    assert cachelayer.read(Novel, novel.pk).row
    assert cachelayer.read(Novel, novel.pk).outcome == "hit"
    assert stamp in {each.key for each in stamps.seen(f"novel:{novel.pk}")}
    return writer, novel, stamp


def name_in(novel):
    return orjson.loads(cachelayer.read(Novel, novel.pk).row)["writer"]["name"]


def rename(writer, name):
    Person.objects.filter(pk=writer.pk).update(name=name)


def test_the_node_of_a_stamp_is_flushed_while_a_writer_has_marked_it(redis_cluster, monkeypatch):
    """The document's lease is granted by another node, which is trusted."""
    writer, novel, stamp = document_across_nodes(redis_cluster)
    # As if the writer were killed after its COMMIT.
    monkeypatch.setattr(key_states, "release", lambda keys, token: ["unsent"] * len(keys))
    monkeypatch.setattr(key_states, "push", lambda rows, token: ["unsent"] * len(rows))
    with stopped(key_states, "mark", after=True) as mark:
        writing = start(rename, writer, "Bea")
        mark.reached()
        redis_cluster.primary_of(stamp).ask("FLUSHALL")
        redis_cluster.primary_of(f"novel:{novel.pk}").ask(
            "UNLINK", keyspace.of(f"novel:{novel.pk}")
        )
        assert name_in(novel) == "Ann"
        mark.release()
        writing.result()
    assert name_in(novel) == "Bea"
    until(closed)
    assert name_in(novel) == "Bea"


def test_a_document_whose_stamp_s_node_is_away_is_bypassed(redis_cluster):
    writer, novel, stamp = document_across_nodes(redis_cluster)
    away = redis_cluster.primary_of(stamp)
    replica = redis_cluster.replica_of(away)
    for node in (away, replica):
        node.pause()
    assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
    rename(writer, "Bea")
    assert name_in(novel) == "Bea"
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    assert name_in(novel) == "Bea"


def test_strict_while_a_node_is_away(redis_cluster, settings, monkeypatch):
    """The declaration stops the hits of all nodes, and no read is stale."""
    # No thread asks by itself.
    monkeypatch.setattr(partition.task, "wake", lambda: None)
    monkeypatch.setattr(partition.task, "wake_now", lambda: None)
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict", "TRUST_LIFETIME": 0.2}
    partition.trust.start_afresh()
    by_port = notes_by_node(redis_cluster)
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    notes = [note for [note] in by_port.values()]
    until(lambda: (partition.trust.ask(), {outcome(note) for note in notes} == {"hit"})[1])
    for node in (away, replica):
        node.pause()
    for note in notes:
        set_stars(note, 2)
    assert {stars(note) for note in notes} == {2}
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(lambda: (partition.trust.ask(), {outcome(note) for note in notes} == {"hit"})[1])
    assert {stars(note) for note in notes} == {2}
    partition.trust.start_afresh()


def test_a_node_that_lacks_its_log_is_drained_later_and_the_others_at_once(redis_cluster, psql):
    by_port = notes_on_each_node(redis_cluster)
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    [gone] = by_port.pop(away.port)
    other = next(note for [note] in by_port.values())
    for node in (away, replica):
        node.pause()
    psql.execute("UPDATE bookshop_note SET stars = 2")
    assert stars(other) == 1, "only the log knows"
    drain.drain()
    assert stars(other) == 2
    assert {*Repair.objects.values_list("key", flat=True)} == {key_of(gone)}
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    assert stars(gone) == 2


def test_stamps_wait_in_the_log_for_the_rows_of_a_node_that_is_away(redis_cluster, psql):
    """A page made meanwhile would have the old row, and its stamp be valid for ever."""
    writer, _, stamp = document_across_nodes(redis_cluster)
    by_port = notes_on_each_node(redis_cluster)
    there = redis_cluster.primary_of(stamp)
    away = next(node for node in redis_cluster.primaries() if node is not there)
    [gone] = by_port[away.port]
    nodes = (away, redis_cluster.replica_of(away))
    for node in nodes:
        node.pause()
    psql.execute("UPDATE bookshop_note SET stars = 2 WHERE id = %s", [gone.pk])
    psql.execute("UPDATE bookshop_person SET name = 'Bea' WHERE id = %s", [writer.pk])
    with suppress(CacheUnavailable):
        drain.drain()
    assert {key_of(gone), stamp} <= {*Repair.objects.values_list("key", flat=True)}
    for node in nodes:
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    until(lambda: not Repair.objects.exists() or not drain.drain())
    assert not Repair.objects.exists()


def test_stamps_wait_in_the_log_for_rows_that_a_drain_has_not_seen(redis_cluster, unnoticed, psql):
    """The row's number is smaller than what is drained, but its transaction commits later."""
    late, early = (Note.objects.create(stars=1) for _ in range(2))
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer)
    assert cachelayer.read(Novel, novel.pk).row
    stamp = f"@bookshop_person.id:{writer.pk}"
    result = drain_shards.Drained()
    psql.execute("BEGIN")
    psql.execute("UPDATE bookshop_note SET stars = 2 WHERE id = %s", [late.pk])
    with transaction.atomic():
        repair_log.log(connection, [key_of(early)])
    after = drain_shards.drain_batch("default", result)
    psql.execute("UPDATE bookshop_person SET name = 'Bea' WHERE id = %s", [writer.pk])
    psql.execute("COMMIT")
    assert drain_shards.drain_batch("default", result, after) > after
    assert {key_of(late), stamp} <= {*Repair.objects.values_list("key", flat=True)}
    drain.drain()
    assert not Repair.objects.exists()


def test_a_drain_asks_a_node_that_is_away_once_for_all_its_keys(redis_cluster, psql, monkeypatch):
    """Each time could cost a timeout, while the keys of other nodes wait."""
    notes = [note for notes in notes_on_each_node(redis_cluster, 4).values() for note in notes]
    psql.execute("UPDATE bookshop_note SET stars = 2")
    asked, repair = [], key_states.repair_shards

    def noting(keys, states):
        asked.append({*keys})
        return repair(keys, states)

    monkeypatch.setattr(key_states, "repair_shards", noting)
    drain.drain()
    assert [*filter(None, asked)] == [{*map(key_of, notes)}]
    assert not Repair.objects.exists()
    assert {*map(stars, notes)} == {2}


def test_a_truncate_while_a_node_is_away(redis_cluster):
    """It names no rows: who empties the table sweeps the nodes that answer, before the answer."""
    by_port = notes_on_each_node(redis_cluster)
    # The one that a sweep would ask first.
    away = min(redis_cluster.primaries(), key=lambda node: node.address())
    replica = redis_cluster.replica_of(away)
    for node in (away, replica):
        node.pause()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE bookshop_note CASCADE")
    assert [cachelayer.read(Note, note.pk).row for [note] in by_port.values()] == [None] * 3
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(closed)
    assert [cachelayer.read(Note, note.pk).row for [note] in by_port.values()] == [None] * 3


def test_django_s_own_cache_calls(redis_cluster):
    from django.core.cache import cache

    cache.set_many({f"k{i}": i for i in range(20)})
    assert cache.get_many([f"k{i}" for i in range(20)]) == {f"k{i}": i for i in range(20)}
    assert cache.incr("k1") == 2
    cache.delete_many(["k1", "k2"])
    assert cache.get("k1") is None
    assert not isinstance(redis_cluster, redis.Redis)
