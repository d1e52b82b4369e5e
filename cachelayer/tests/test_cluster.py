"""On a real cluster: one slot's primary is this project's Redis, whoever that is."""

from collections import deque

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from redis.crc import key_slot

import cachelayer
from cachelayer.checks import configuration
from cachelayer.checks import redis as redis_checks
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.operations import clear, verify, warm
from cachelayer.protocol import drain, reads
from cachelayer.redis import cluster as redis_cluster
from cachelayer.redis import epoch, transport
from cachelayer.redis.gate import gate
from cachelayer.tests.bookshop.models import Note, Novel, Review
from cachelayer.tests.loop import running_loop
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

TAG = "shop"
SLOT = key_slot(TAG.encode())


def key(note):
    return f"{{{TAG}}}/note:{note.pk}"


def hits(note):
    return cachelayer.read(Note, note.pk).outcome == "hit"


def port_in_use():
    return transport.pool().get_connection().port


def fail_over(replica):
    """Have *replica* take over from a primary that is away."""
    until(lambda: replica.role() == "master")
    until(lambda: replica.info()["cluster_state"] == "ok")


class Move:
    """The slot on its way from one node to another, key by key."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        target.ask("CLUSTER", "SETSLOT", SLOT, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", SLOT, "MIGRATING", target.id)

    def take(self, *keys):
        self.source.ask(
            "MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "REPLACE", "KEYS", *keys
        )

    def end(self):
        while keys := self.source.ask("CLUSTER", "GETKEYSINSLOT", SLOT, 100):
            self.take(*keys)
        for node in (self.target, self.source):
            node.ask("CLUSTER", "SETSLOT", SLOT, "NODE", self.target.id)


def test_every_operation_finds_its_keys(cluster):
    owner, _ = cluster.owner(TAG)
    notes = [Note.objects.create(stars=number) for number in range(3)]
    assert all(map(hits, notes))
    set_stars(notes[0], 5)
    assert (hits(notes[0]), stars(notes[0])) == (True, 5)
    Note.objects.filter(pk=notes[1].pk).update(stars=7)
    assert stars(notes[1]) == 7
    pks = [note.pk for note in notes]
    assert {read.outcome for read in cachelayer.read_many(Note, pks).values()} == {"hit"}
    novel = Novel.objects.create(title="Waves")
    Review.objects.create(novel=novel)
    outcomes = [cachelayer.read(Novel, novel.pk).outcome for _ in range(2)]
    assert outcomes == ["miss", "hit"]
    assert [*clear.clear_all()][-1] > 0
    assert [*warm.warm(Note)][-1] == (3, 3)
    report = [*verify.verify()][-1]
    assert (report.compared, report.differing) == (3, 0)
    repair_log.log(connection, [f"note:{pks[0]}"])
    drain.drain(f"trusted {epoch.known()}")
    assert not Repair.objects.exists()
    assert not hits(notes[0])
    caches["default"].set("words", "of the project")
    assert caches["default"].get("words") == "of the project"
    assert closed()
    assert owner.ask("CLUSTER", "COUNTKEYSINSLOT", SLOT) == owner.ask("DBSIZE") > 3


@pytest.mark.slow
def test_an_event_loop_finds_the_node_too(cluster):
    note = Note.objects.create(stars=1)
    with running_loop() as loop:
        loop.connect()
        assert loop.run(reads.afetch(f"note:{note.pk}"))[0] == cachelayer.render(note)


@pytest.mark.slow
def test_a_failed_over_primary_is_reconciled_before_a_read_believes_it(cluster):
    primary, replica = cluster.owner(TAG)
    note = Note.objects.create(stars=1)
    assert hits(note)
    primary.ask("WAIT", 1, 5000)
    # What comes now never reaches the replica: it keeps the row of before.
    primary.pause()
    set_stars(note, 2)
    assert Repair.objects.exists(), "nobody could mark"
    fail_over(replica)
    until(lambda: stars(note) == 2 and closed())
    assert not Repair.objects.exists()
    set_stars(note, 3)
    assert (hits(note), stars(note)) == (True, 3)
    assert port_in_use() == replica.port
    primary.resume()
    # It still has connections of before, and refuses on them: it is a replica of the other now.
    until(lambda: primary.role() == "slave")
    set_stars(note, 4)
    assert (hits(note), stars(note)) == (True, 4)


@pytest.mark.slow
def test_old_connections_are_left_for_the_new_node(cluster, monkeypatch):
    """They refuse: taken for a refusal, the write would go without its mark."""
    source, _ = cluster.owner(TAG)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    note = Note.objects.create(stars=1)
    caches["default"].set("words", "of the project")
    old = transport._lines._idle.pop()
    with running_loop() as loop:
        loop.connect()
        Move(source, target).end()
        with pytest.raises(CacheUnavailable, match="has given its keys to another"):
            loop.run(reads.afetch(f"note:{note.pk}"))
        until(lambda: closed() and hits(note))
        loop.connect()
        assert loop.line()._connection.port == target.port
    # This one has not been used since.
    monkeypatch.setattr(transport._lines, "_idle", deque([old]))
    set_stars(note, 2)
    assert not Repair.objects.exists()
    assert (hits(note), stars(note)) == (True, 2)
    assert port_in_use() == target.port
    assert caches["default"].get("words") == "of the project"


def test_while_the_slot_moves_nothing_is_stale_and_writes_go_on(cluster):
    source, _ = cluster.owner(TAG)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    moved, left = Note.objects.create(stars=1), Note.objects.create(stars=1)
    assert hits(moved)
    assert hits(left)
    move = Move(source, target)
    move.take(key(moved))
    assert stars(moved) == 1
    set_stars(moved, 2)
    set_stars(left, 2)
    assert (stars(moved), stars(left)) == (2, 2)
    move.take(f"{{{TAG}}}/cachelayer:incarnation")
    set_stars(moved, 3)
    set_stars(left, 3)
    assert (stars(moved), stars(left)) == (3, 3)
    move.end()
    until(lambda: closed() and hits(moved) and hits(left))
    assert (stars(moved), stars(left)) == (3, 3)
    assert port_in_use() == target.port
    assert not Repair.objects.exists()


@pytest.mark.slow
def test_a_write_that_could_not_be_marked_in_a_move_is_repaired_after_it(cluster):
    """1. The row moves. 2. A write cannot mark it. 3. The move ends, with the old row."""
    source, _ = cluster.owner(TAG)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    note = Note.objects.create(stars=1)
    assert hits(note)
    move = Move(source, target)
    move.take(key(note))
    set_stars(note, 2)
    move.end()
    assert target.ask("GET", key(note)) is not None
    until(closed)
    assert stars(note) == 2


@pytest.mark.slow
def test_a_flushed_node_is_not_filled_before_it_is_reconciled(cluster):
    owner, _ = cluster.owner(TAG)
    note = Note.objects.create(stars=1)
    owner.ask("FLUSHALL")
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    until(closed)
    until(lambda: hits(note))


@pytest.mark.slow
def test_nodes_without_the_slot_may_fail(cluster):
    owner, replica = cluster.owner(TAG)
    note = Note.objects.create(stars=1)
    for node in cluster.nodes:
        if node not in (owner, replica):
            node.pause()
    set_stars(note, 2)
    assert (hits(note), stars(note)) == (True, 2)
    assert closed()


@pytest.mark.slow
def test_the_first_node_of_the_settings_may_be_away(cluster):
    first = cluster.nodes[0]
    note = Note.objects.create(stars=1)
    first.kill()
    until(lambda: stars(note) == 1 and closed() and hits(note))
    transport.forget_connections()
    assert hits(note)


@pytest.mark.slow
def test_a_cluster_that_is_gone_costs_no_request_its_time(cluster):
    note = Note.objects.create(stars=1)
    for node in cluster.nodes:
        node.kill()
    transport.forget_connections()
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    set_stars(note, 2)
    assert stars(note) == 2
    with pytest.raises(CacheUnavailable, match="gate"):
        transport.round_trip(("PING",), use=transport.Use.READ)
    assert "No node says who has the slot" in gate.state.reason


@pytest.mark.slow
def test_e027_a_node_without_the_factory(cluster, settings):
    cache = settings.CACHES["default"]
    options = {k: v for k, v in cache["OPTIONS"].items() if "CLUSTER" not in k}
    del options["CONNECTION_FACTORY"]
    # Another host, for django-redis keeps a pool for each URL.
    location = cache["LOCATION"].replace("127.0.0.1", "localhost")
    settings.CACHES = {"default": {**cache, "LOCATION": location, "OPTIONS": options}}
    [problem] = configuration.check_redis(databases=["default"])
    assert problem.id == "cachelayer.E027"
    assert redis_cluster.FACTORY in problem.hint
    settings.CACHES = {"default": cache}
    assert configuration.check_redis(databases=["default"]) == []


@pytest.mark.slow
def test_a_user_with_exactly_the_rules_of_acl(cluster, settings):
    rules = redis_checks.acl().split()
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "lab", "on", ">secret", *rules)
    cache = settings.CACHES["default"]
    location = cache["LOCATION"].replace("127.0.0.1", "lab:secret@127.0.0.1")
    settings.CACHES = {"default": {**cache, "LOCATION": location}}
    transport.forget_connections()
    assert configuration.check_redis(databases=["default"]) == []
    note = Note.objects.create(stars=1)
    assert hits(note)
    settings.CACHES = {"default": cache}


@pytest.mark.parametrize("prefix", ["", "shop", "{}", "{shop", "sh{}op"])
def test_e033_keys_without_a_tag_are_refused(settings, prefix):
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "KEY_PREFIX": prefix}}
    with pytest.raises(ImproperlyConfigured, match="hash tag"):
        redis_cluster.tag()
    factory = {"CONNECTION_FACTORY": redis_cluster.FACTORY}
    options = {**cache["OPTIONS"], **factory}
    settings.CACHES = {"default": {**cache, "KEY_PREFIX": prefix, "OPTIONS": options}}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E033"


@pytest.mark.parametrize("prefix", ["{shop}", "web.{shop}", "{shop}.{other}"])
def test_the_slot_is_that_of_every_key(settings, prefix):
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "KEY_PREFIX": prefix}}
    assert redis_cluster.slot() == key_slot(f"{prefix}/note:5".encode())
