"""What a project has set for its own values in the pool does not change ours."""

import pytest
from django_redis.pool import ConnectionFactory

import cachelayer
from cachelayer.models import Repair
from cachelayer.operations import clear, row_count
from cachelayer.redis import server_info, transport
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture(
    params=[
        {"decode_responses": True},
        {"decode_responses": True, "protocol": 2},
        {"decode_responses": True, "encoding": "latin-1", "encoding_errors": "replace"},
        {"encoding": "utf-16"},
    ],
    ids=str,
)
def decoding(request, own_redis, settings):
    """The project's Redis, where redis-py makes something else of what comes."""
    cache = settings.CACHES["default"]
    options = {**cache["OPTIONS"], "CONNECTION_POOL_KWARGS": request.param}
    settings.CACHES = {"default": {**cache, "OPTIONS": options}}
    # django-redis keeps a pool for each address, with the options that it was made with first.
    pools, before = ConnectionFactory._pools, ConnectionFactory._pools.pop(own_redis.url)
    transport.forget_connections()
    yield own_redis
    pools.pop(own_redis.url).disconnect()
    pools[own_redis.url] = before
    transport.forget_connections()


def test_reads_and_writes_are_as_ever(decoding):
    note = Note.objects.create(text="é", stars=1)
    read = cachelayer.read(Note, note.pk)
    assert (read.outcome, read.row) == ("hit", cachelayer.render(note))
    set_stars(note, 2)
    assert stars(note) == 2
    assert sum(clear.clear_all()) == 1
    assert [cachelayer.read(Note, note.pk).outcome for _ in range(2)] == ["miss", "hit"]
    assert not Repair.objects.exists()
    assert closed()


def test_a_reconcile_sweeps_what_is_there(decoding):
    notes = [Note.objects.create(stars=1) for _ in range(3)]
    transport.client().save()
    decoding.kill()
    for note in notes:
        set_stars(note, 2)
    decoding.start()
    until(lambda: [stars(note) for note in notes] == [2, 2, 2] and closed())
    assert not Repair.objects.exists()
    outcomes = [cachelayer.read(Note, note.pk).outcome for note in [*notes, *notes]]
    assert outcomes[-3:] == ["hit"] * 3


def test_what_the_cache_counts_and_says_of_redis_is_as_ever(decoding):
    Note.objects.create()
    counters.flush()
    assert row_count.count().rows == 1
    assert set(counters.totals()) == set(counters.NAMES)
    assert server_info.ask().incarnation.is_trusted
