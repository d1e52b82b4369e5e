"""A Redis Cluster whose nodes are reached by TLS, with a user and a password: a managed one."""

import pytest

import cachelayer
from cachelayer.protocol import reads
from cachelayer.redis import shards, topology, transport
from cachelayer.redis.loop_transport import NotConnected
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.cluster_notes import key_of, outcome
from cachelayer.tests.loop import running_loop
from cachelayer.tests.outages import set_stars, stars
from cachelayer.tests.polling import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("quick", "patient"),
    pytest.mark.timeout(120),
]


def notes_on_each_node(ports):
    found = {}
    while len(found) < len(ports):
        note = Note.objects.create(stars=1)
        found.setdefault(topology.address(shards.of(key_of(note)))[1], note)
    return [found[port] for port in ports]


def test_rows_of_every_node_are_filled_hit_and_pushed(tls_cluster):
    notes = notes_on_each_node(tls_cluster)
    assert {outcome(note) for note in notes} == {"hit"}
    for note in notes:
        set_stars(note, 2)
    assert {outcome(note) for note in notes} == {"hit"}
    assert {stars(note) for note in notes} == {2}
    assert not shard_gates.not_closed()


def test_an_event_loop_asks_every_node(tls_cluster):
    notes = notes_on_each_node(tls_cluster)
    with running_loop() as loop:

        def is_hit(note):
            try:
                return loop.run(reads.afetch(key_of(note)))[0]
            except NotConnected:
                return False

        for note in notes:
            until(lambda note=note: is_hit(note))
        assert loop.run(cachelayer.aread(Note, notes[0].pk)).outcome == "hit"


def test_nodes_of_an_unknown_authority_are_not_asked(tls_cluster, settings):
    [note, *_] = notes_on_each_node(tls_cluster)
    [*locations] = settings.CACHES["default"]["LOCATION"]
    strangers = [location.partition("?")[0] for location in locations]
    caches = {**settings.CACHES["default"], "LOCATION": strangers}
    before = settings.CACHES
    settings.CACHES = {"default": caches}
    transport.forget_connections()
    try:
        assert outcome(note) == "bypass"
        set_stars(note, 2)
        assert stars(note) == 2
    finally:
        settings.CACHES = before
        transport.forget_connections()
    until(lambda: outcome(note) == "hit")
    assert stars(note) == 2
