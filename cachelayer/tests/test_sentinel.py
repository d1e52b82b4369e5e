"""A fail-over by a real Sentinel: from a primary to a replica that lags behind it."""

import pytest
import redis

import cachelayer
from cachelayer import link
from cachelayer.gate import gate
from cachelayer.models import Repair
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.faults import closed, set_stars, stars
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
    assert link.pool().get_connection().port == replica.port


def test_a_sentinel_that_is_gone_costs_no_request_its_time(behind_sentinel):
    _, _, sentinel = behind_sentinel
    note = Note.objects.create(stars=1)
    sentinel.kill()
    link.forget_connections()
    # Nobody says where Redis is, and by itself redis-py would ask again for seconds.
    asked = link.pool().sentinel_manager.sentinels
    assert [each.get_retry().get_retries() for each in asked] == [0]
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    set_stars(note, 2)
    assert stars(note) == 2
