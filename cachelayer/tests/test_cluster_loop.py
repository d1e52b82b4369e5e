"""Redis Cluster from an event loop: a line to each node, and no stale hit from any."""

import asyncio

import pytest

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_values, partition, reads
from cachelayer.redis import epoch, keyspace, loop_transport, shard_epochs, shards, topology
from cachelayer.redis.loop_transport import NotConnected
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.novels import Novel, Person, Writer
from cachelayer.tests.cluster_notes import closed, key_of
from cachelayer.tests.loop import running_loop
from cachelayer.tests.outages import set_stars, stars
from cachelayer.tests.polling import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("quick"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def loop(redis_cluster):
    with running_loop() as loop:
        yield loop


def fetch(loop, key):
    return loop.run(reads.afetch(key))[0]


def connect(loop, key):
    """Wait until this loop is connected to the node of *key*."""

    def is_connected():
        try:
            fetch(loop, key)
        except NotConnected:
            return False
        return True

    until(is_connected)


@pytest.fixture
def answer_time():
    """Nodes are paused here."""
    return 0.5


def notes_on_each_node(cluster):
    found = {}
    while len(found) < 3:
        note = Note.objects.create(stars=1)
        found.setdefault(cluster.primary_of(key_of(note)).port, note)
    return found


def is_hit(note):
    return cachelayer.read(Note, note.pk).outcome == "hit"


def test_rows_of_all_nodes_in_one_turn(loop, redis_cluster):
    notes = [*notes_on_each_node(redis_cluster).values()]
    for note in notes:
        connect(loop, key_of(note))

    async def together():
        return await asyncio.gather(*(reads.afetch(key_of(note)) for note in notes))

    found = loop.run(together())
    assert [value for value, _ in found] == [cachelayer.render(note) for note in notes]


def test_a_document_whose_stamp_is_on_another_node_is_valid_or_not(loop, redis_cluster):
    while True:
        writer = Writer.objects.create(name="Ann")
        novel = Novel.objects.create(title="One", writer=writer)
        key, stamp = f"novel:{novel.pk}", f"@bookshop_person.id:{writer.pk}"
        if redis_cluster.primary_of(key) is not redis_cluster.primary_of(stamp):
            break
    assert cachelayer.read(Novel, novel.pk).row
    connect(loop, key)
    until(lambda: fetch_or_none(loop, key) == cachelayer.render(novel))
    Person.objects.filter(pk=writer.pk).update(name="Bob")
    assert key_values.is_invalid(fetch(loop, key))


def fetch_or_none(loop, key):
    try:
        return fetch(loop, key)
    except CacheUnavailable:
        return None


def test_a_node_that_is_away_takes_only_its_keys_with_it(loop, redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    for note in by_port.values():
        connect(loop, key_of(note))
    away = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(away)
    gone = by_port.pop(away.port)
    for node in (away, replica):
        node.pause()
    with pytest.raises(CacheUnavailable):
        fetch(loop, key_of(gone))
    assert all(fetch(loop, key_of(note)) == cachelayer.render(note) for note in by_port.values())
    set_stars(gone, 2)
    for node in (away, replica):
        node.resume()
    until(redis_cluster.is_well)
    until(lambda: stars(gone) == 2 and closed() and is_hit(gone))
    gone.refresh_from_db()
    until(lambda: fetch_or_none(loop, key_of(gone)))
    assert fetch(loop, key_of(gone)) == cachelayer.render(gone)


def test_a_slot_that_has_moved_is_no_hit_where_it_was_nor_where_it_is(loop, redis_cluster):
    by_port = notes_on_each_node(redis_cluster)
    here, there, _ = redis_cluster.primaries()
    note = by_port[here.port]
    shard = shards.of(key_of(note))
    for each in by_port.values():
        connect(loop, key_of(each))
    redis_cluster.move(shards.slots()[shard], there)
    with pytest.raises(CacheUnavailable):
        fetch(loop, key_of(note))
    assert topology.known(shard) == there.address()
    assert there.ask("GET", keyspace.of(key_of(note)))
    with pytest.raises(CacheUnavailable):
        fetch(loop, key_of(note))
    until(lambda: closed() and is_hit(note))
    until(lambda: fetch_or_none(loop, key_of(note)))
    assert fetch(loop, key_of(note)) == cachelayer.render(note)
    redis_cluster.move(shards.slots()[shard], here)


def test_a_flushed_node_gives_no_hit(loop, redis_cluster):
    note = Note.objects.create(stars=1)
    connect(loop, key_of(note))
    node = redis_cluster.primary_of(key_of(note))
    value = node.ask("GET", keyspace.of(key_of(note)))
    node.ask("FLUSHALL")
    node.ask("SET", keyspace.of(key_of(note)), value)
    with pytest.raises(CacheUnavailable):
        fetch(loop, key_of(note))
    until(closed)


def test_a_node_that_has_forgotten_the_scripts_is_sent_their_text(loop, redis_cluster):
    note = Note.objects.create(stars=1)
    connect(loop, key_of(note))
    redis_cluster.primary_of(key_of(note)).ask("SCRIPT", "FLUSH")
    assert fetch(loop, key_of(note)) == cachelayer.render(note)


def test_a_map_that_is_forgotten_while_a_node_answers(loop, monkeypatch):
    note = Note.objects.create(stars=1)
    connect(loop, key_of(note))
    ask = loop_transport.Line.ask

    async def asked(*given):
        answers = await ask(*given)
        topology.forget()
        return answers

    monkeypatch.setattr(loop_transport.Line, "ask", asked)
    assert fetch(loop, key_of(note)) == cachelayer.render(note)


def test_what_a_thread_must_ask_first(loop):
    note = Note.objects.create(stars=1)
    connect(loop, key_of(note))
    copy = shard_epochs.current()
    shard_epochs.forget()
    with pytest.raises(NotConnected, match="epochs"):
        fetch(loop, key_of(note))
    shard_epochs._copy = copy
    topology.forget()
    with pytest.raises(NotConnected, match="where its keys are"):
        fetch(loop, key_of(note))
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    connect(loop, key_of(note))


def test_a_copy_of_the_epochs_that_is_not_the_latest_is_not_used(loop):
    note = Note.objects.create(stars=1)
    connect(loop, key_of(note))
    epoch.hear("999")
    with pytest.raises(NotConnected, match="epochs"):
        fetch(loop, key_of(note))


def test_strict_hits_are_of_the_epoch_that_is_trusted(loop, settings, monkeypatch):
    # No thread asks by itself.
    monkeypatch.setattr(partition.task, "wake", lambda: None)
    monkeypatch.setattr(partition.task, "wake_now", lambda: None)
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict", "TRUST_LIFETIME": 60.0}
    partition.trust.start_afresh()
    note = Note.objects.create(stars=1)
    partition.trust.ask()
    connect(loop, key_of(note))
    assert fetch(loop, key_of(note)) == cachelayer.render(note)
    partition.trust.start_afresh()
    with pytest.raises(CacheUnavailable):
        fetch(loop, key_of(note))
