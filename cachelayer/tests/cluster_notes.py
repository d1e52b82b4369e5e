"""Notes in the nodes of a real Redis Cluster, and what a read of one says."""

import time

import cachelayer
from cachelayer.redis import keyspace, shards
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.tests.bookshop.models import Note


def closed():
    return not shard_gates.not_closed()


def idle(held):
    """In the place of the reconcile: it does nothing, and keeps no core busy."""
    time.sleep(0.01)


def slot_of(shard):
    return shards.slots()[shard]


def outcome(note):
    return cachelayer.read(Note, note.pk).outcome


def key_of(note):
    return f"note:{note.pk}"


def notes_on_each_node(found, count=1):
    """Cached notes by the node that has them, *count* for each primary."""
    by_port = notes_by_node(found, count)
    assert all(outcome(note) == "hit" for notes in by_port.values() for note in notes)
    return by_port


def notes_by_node(found, count=1):
    by_port = {node.port: [] for node in found.primaries()}
    while any(len(notes) < count for notes in by_port.values()):
        note = Note(stars=1)
        held = by_port[found.primary_of(key_of(note)).port]
        if len(held) < count:
            note.save()
            held.append(note)
    return by_port


def stored(node, note):
    return node.ask("GET", keyspace.of(key_of(note)))
