"""Slots of a real Redis Cluster that move: no read is stale, and what stays goes on to be a hit."""

import pytest

from cachelayer.models import Repair
from cachelayer.protocol import drain_shards
from cachelayer.redis import incarnation, keyspace, shards, topology
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.tests.cluster_notes import (
    closed,
    key_of,
    notes_on_each_node,
    outcome,
    slot_of,
    stored,
)
from cachelayer.tests.interleaving import stopped
from cachelayer.tests.outages import set_stars, stars
from cachelayer.tests.polling import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("quick", "patient"),
    pytest.mark.timeout(180),
]


def test_a_slot_that_has_moved_is_reconciled_before_it_is_read(redis_cluster):
    by_port = notes_on_each_node(redis_cluster, 2)
    here, there, _ = redis_cluster.primaries()
    moved, stayed = by_port[here.port]
    redis_cluster.move(slot_of(shards.of(key_of(moved))), there)
    assert stored(there, moved)
    if shards.of(key_of(stayed)) != shards.of(key_of(moved)):
        assert outcome(stayed) == "hit"
    assert outcome(moved) == "bypass"
    set_stars(moved, 2)
    assert stars(moved) == 2
    until(closed)
    until(lambda: outcome(moved) == "hit")
    assert stars(moved) == 2
    redis_cluster.move(slot_of(shards.of(key_of(moved))), here)


def test_a_slot_that_was_away_during_the_sweep_is_swept_again(redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    here, there, _ = redis_cluster.primaries()
    [note] = by_port[here.port]
    shard = shards.of(key_of(note))
    with stopped(drain_shards, "drain") as drain:
        here.ask("UNLINK", keyspace.all_of([incarnation.KEY], shard)[0])
        assert outcome(note) == "bypass"
        drain.reached()
        redis_cluster.move(slot_of(shard), there)
        redis_cluster.move(slot_of(shard), here)
        # As if it had been there while its node was scanned here.
        here.ask("SET", keyspace.of(key_of(note)), b'{"stars": 0}')
        drain.release()
    until(closed)
    assert stars(note) == 1


def test_while_a_slot_moves_its_keys_are_bypassed_and_written(redis_cluster):
    by_port = notes_on_each_node(redis_cluster, 2)
    here, there, _ = redis_cluster.primaries()
    note = by_port[here.port][0]
    others = [by_port[here.port][1], *by_port[there.port]]
    others = [each for each in others if shards.of(key_of(each)) != shards.of(key_of(note))]
    shard = shards.of(key_of(note))
    redis_cluster.begin_to_move(slot_of(shard), there)
    set_stars(note, 2)
    assert stars(note) == 2
    assert {outcome(each) for each in others} == {"hit"}
    redis_cluster.move_keys(slot_of(shard), here, there, 1)
    set_stars(note, 3)
    assert stars(note) == 3
    while redis_cluster.move_keys(slot_of(shard), here, there):
        pass
    set_stars(note, 4)
    assert stars(note) == 4
    redis_cluster.end_move(slot_of(shard), there)
    set_stars(note, 5)
    assert stars(note) == 5
    until(lambda: stars(note) == 5 and closed())
    until(lambda: stars(note) == 5 and outcome(note) == "hit")
    redis_cluster.move(slot_of(shard), here)


@pytest.mark.parametrize("moved_first", [0, 1])
def test_a_move_that_is_called_off_leaves_no_old_row(redis_cluster, unnoticed, moved_first):
    """The writer could not mark; who reads afterwards finds the slot where it always was."""
    by_port = notes_on_each_node(redis_cluster)
    here, there, _ = redis_cluster.primaries()
    [note] = by_port[here.port]
    shard = shards.of(key_of(note))
    redis_cluster.begin_to_move(slot_of(shard), there)
    keys = [keyspace.all_of(["cachelayer:incarnation"], shard)[0]][:moved_first]
    if keys:
        here.ask("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS", *keys)
    set_stars(note, 2)
    assert Repair.objects.filter(key=key_of(note)).exists(), "nobody could mark"
    if keys:
        there.ask("MIGRATE", "127.0.0.1", here.port, "", 0, 5000, "KEYS", *keys)
    for node in (here, there):
        node.ask("CLUSTER", "SETSLOT", slot_of(shard), "STABLE")
    # Another process, which has noticed nothing.
    shard_gates.start_afresh()
    assert b'"stars":1' in stored(here, note)
    assert stars(note) == 2


def test_a_slot_that_comes_back_is_not_taken_for_what_it_was(redis_cluster, unnoticed):
    """Its incarnation names its node again, but a write was marked on the other in vain."""
    by_port = notes_on_each_node(redis_cluster)
    here, there, _ = redis_cluster.primaries()
    [note] = by_port[here.port]
    shard = shards.of(key_of(note))
    redis_cluster.move(slot_of(shard), there)
    set_stars(note, 2)
    assert Repair.objects.filter(key=key_of(note)).exists()
    # As a writer leaves it that is killed before its push.
    there.ask("SET", keyspace.of(key_of(note)), '{"stars":1}')
    redis_cluster.move(slot_of(shard), here)
    shard_gates.start_afresh()
    assert stars(note) == 2
    assert outcome(note) == "bypass"


def test_a_full_re_shard_under_load(redis_cluster):
    by_port = notes_on_each_node(redis_cluster, 4)
    here, there, third = redis_cluster.primaries()
    notes = [note for notes in by_port.values() for note in notes]
    untouched = by_port[third.port]
    of_here = topology.shards_of(here.address())[:40]
    count = 1
    for shard in of_here:
        redis_cluster.move(slot_of(shard), there)
        count += 1
        for note in notes[:3]:
            set_stars(note, count)
            assert stars(note) == count
        assert {outcome(note) for note in untouched} == {"hit"}
    for shard in of_here:
        redis_cluster.move(slot_of(shard), here)
    until(closed)
    assert {stars(note) for note in notes[:3]} == {count}
