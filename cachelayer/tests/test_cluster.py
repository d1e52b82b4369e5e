"""The protocol on a real Redis Cluster whose nodes are well."""

import pytest

import cachelayer
from cachelayer.redis import shards
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.tests.bookshop.models import Note
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


def test_shards_cover_the_slots_evenly():
    width = shards.SLOTS // shards.COUNT
    assert [slot // width for slot in shards.slots()] == list(range(shards.COUNT))
