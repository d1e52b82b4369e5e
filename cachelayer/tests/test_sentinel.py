"""A fail-over by a real Sentinel: from a primary to a replica that lags behind it."""

from collections import deque

import pytest
import redis

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.protocol import key_states, key_values, partition, reads
from cachelayer.redis import incarnation, resp, transport
from cachelayer.redis.gate import gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.loop import running_loop
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


def test_a_failed_over_redis_is_reconciled_before_a_read_believes_it(behind_sentinel):
    primary, replica, sentinel = behind_sentinel
    note = Note.objects.create(stars=1)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    with redis.Redis(port=replica.port) as held:
        until(lambda: held.get(f"note:{note.pk}"))
        # What comes now never reaches the replica: it keeps the row of before.
        primary.pause()
    set_stars(note, 2)
    assert Repair.objects.exists(), "nobody could mark"
    until(lambda: sentinel.primary() == replica.port)
    until(lambda: stars(note) == 2 and closed())
    assert gate.state.changes >= 2
    assert not Repair.objects.exists()
    set_stars(note, 3)
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 3
    assert transport.pool().get_connection().port == replica.port


def is_hit(note):
    return cachelayer.read(Note, note.pk).outcome == "hit"


def test_an_event_loop_follows_the_primary(behind_sentinel):
    primary, replica, sentinel = behind_sentinel
    note = Note.objects.create(stars=1)
    key = f"note:{note.pk}"
    with running_loop() as loop, redis.Redis(port=replica.port) as held:
        loop.connect()
        assert loop.run(reads.afetch(key))[0] == cachelayer.render(note)
        assert loop.line()._connection.port == primary.port
        until(lambda: held.get(key))
        primary.pause()
        with pytest.raises(CacheUnavailable):
            loop.run(reads.afetch(key))
        set_stars(note, 2)
        until(lambda: sentinel.primary() == replica.port)
        # Filled again, after a reconcile that has swept the row of before.
        until(lambda: stars(note) == 2 and closed() and is_hit(note))
        loop.connect()
        assert loop.line()._connection.port == replica.port
        note.refresh_from_db()
        assert loop.run(reads.afetch(key))[0] == cachelayer.render(note)


@pytest.fixture
def copied(behind_sentinel, settings, monkeypatch):
    """In strict mode: a note, its key and a replica that has a copy of all."""
    primary, replica, _ = behind_sentinel
    settings.CACHELAYER = {"PARTITION": "strict", "TRUST_LIFETIME": 60.0}
    # No thread asks by itself.
    monkeypatch.setattr(partition.task, "wake", lambda: None)
    monkeypatch.setattr(partition.task, "wake_now", lambda: None)
    note = Note.objects.create(stars=1)
    key = f"note:{note.pk}"
    with redis.Redis(port=primary.port) as one, redis.Redis(port=replica.port) as other:
        until(lambda: other.mget(key, incarnation.KEY) == one.mget(key, incarnation.KEY))
    partition.trust.ask()
    yield note, key, replica
    partition.trust.start_afresh()


def test_a_loop_at_a_replica_gives_no_strict_hit(copied):
    note, key, replica = copied
    with running_loop() as loop:
        loop.connect()
        assert loop.run(reads.afetch(key))[0] == cachelayer.render(note)
        connection = _connection_to(replica)
        connection.connect()
        loop.run(_adopt(loop.line(), connection))
        with pytest.raises(CacheUnavailable, match="without marks"):
            loop.run(reads.afetch(key))


async def _adopt(line, connection):
    line.close(OSError("The test leads this loop elsewhere."))
    line._adopt(connection, transport.generation(), None)


def test_a_sentinel_that_is_gone_costs_no_request_its_time(behind_sentinel):
    _, _, sentinel = behind_sentinel
    note = Note.objects.create(stars=1)
    sentinel.kill()
    transport.forget_connections()
    # Nobody says where Redis is, and by itself redis-py would ask again for seconds.
    asked = transport.pool().sentinel_manager.sentinels
    assert [each.get_retry().get_retries() for each in asked] == [0]
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    set_stars(note, 2)
    assert stars(note) == 2


def test_a_primary_that_has_become_a_replica_is_left_for_the_new_one(behind_sentinel, monkeypatch):
    """It answers, and refuses: taken for a refusal, the write would go without its mark."""
    primary, replica, sentinel = behind_sentinel
    note = Note.objects.create(stars=1)
    until(sentinel.fail_over)
    until(lambda: sentinel.primary() == replica.port)
    with redis.Redis(port=primary.port) as old:
        until(lambda: old.info("replication")["role"] == "slave")
    until(lambda: cachelayer.read(Note, note.pk).outcome == "hit")
    # Sentinel has cut the old connections; this one has not been used since.
    lead_to(primary, monkeypatch)
    set_stars(note, 2)
    assert not Repair.objects.exists()
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert stars(note) == 2


def test_a_replica_gives_no_strict_hit(copied, monkeypatch):
    """It has a copy of all, of the incarnation too, and its primary's replication id."""
    note, key, replica = copied
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    lead_to(replica, monkeypatch)
    values, trusted = key_states.get_verified([key])
    assert key_values.is_known(values[0])
    assert trusted == ""
    assert cachelayer.read(Note, note.pk).outcome == "bypass"


def lead_to(server, monkeypatch):
    """The next command goes to *server*."""
    monkeypatch.setattr(transport._lines, "_idle", deque([resp.Line(_connection_to(server))]))


def _connection_to(server):
    return redis.Connection(port=server.port, socket_timeout=0.5, protocol=2)
