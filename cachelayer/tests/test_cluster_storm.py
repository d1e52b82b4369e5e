"""Processes that read and write while nodes of a Redis Cluster fail, fail over and are re-sharded.

Each row is written by one process only, which counts: the number in it says how new it is. A read
must give a number that was acknowledged before it began, or a later one. Half of the reads are of
documents, whose stamp is on another node.
"""

import multiprocessing
import os
import random
import sys
import time
import traceback

import orjson
import pytest
import redis
from django.db import connections

import cachelayer
from cachelayer.redis import topology, transport
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.novels import Novel, Person, Writer
from cachelayer.tests.polling import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

_PROCESSES = 3
#: Many, so that a row that is lost in a fail-over is mostly not written again before it is read.
_ROWS = 150
_SECONDS = float(os.environ.get("STORM_SECONDS", "30"))


@pytest.fixture
def production(settings):
    """Times as in production, but for a busy machine."""
    settings.CACHELAYER = {"REQUEST_BUDGET": 60.0, "CHECK_SHARE": 0.0}


class _Board:
    """What all processes see: how far each row's writer is, and what was found."""

    def __init__(self, shared, rows):
        self.started = shared.Array("l", rows, lock=False)
        self.acknowledged = shared.Array("l", rows, lock=False)
        self.hits = shared.Array("l", _PROCESSES, lock=False)
        self.reads = shared.Array("l", _PROCESSES, lock=False)
        self.is_over = shared.Event()
        self.stale = shared.Queue()


def _work(number, board, notes, writers, novels):
    """Read and write until it is over."""
    chance = random.Random(number)
    try:
        while not board.is_over.is_set():
            row = chance.randrange(2 * _ROWS)
            if chance.random() < 0.3 and row % _PROCESSES == number:
                _write(board, row, notes, writers)
            else:
                _read(number, board, row, notes, novels)
    except BaseException:
        board.stale.put(traceback.format_exc())
    finally:
        connections.close_all()


def _write(board, row, notes, writers):
    board.started[row] += 1
    count = board.started[row]
    if row < _ROWS:
        Note.objects.filter(pk=notes[row]).update(stars=count)
    else:
        Person.objects.filter(pk=writers[row - _ROWS]).update(name=str(count))
    board.acknowledged[row] = count


def _read(number, board, row, notes, novels):
    before = board.acknowledged[row]
    if row < _ROWS:
        found = cachelayer.read(Note, notes[row])
        count = orjson.loads(found.row)["stars"]
    else:
        found = cachelayer.read(Novel, novels[row - _ROWS])
        count = int(orjson.loads(found.row)["writer"]["name"])
    after = board.started[row]
    board.reads[number] += 1
    board.hits[number] += found.outcome == "hit"
    if not before <= count <= after:
        board.stale.put(f"row {row}: {found.outcome} {count}, not from {before} to {after}")


def _fail(cluster, chance):
    """One fault, and what mends it."""
    here, there, *_ = chance.sample(cluster.primaries(), 3)
    replica = cluster.replica_of(here)
    match chance.randrange(5):
        case 0:
            here.ask("FLUSHALL")
        case 1:
            until(lambda: replica.info("master_link_status") == "up")
            replica.ask("CLUSTER", "FAILOVER")
            until(replica.is_primary)
        case 2:
            # What comes now never reaches the replica, which then takes over.
            replica.pause()
            here.ask("CLIENT", "KILL", "TYPE", "replica")
            time.sleep(1.0)
            here.kill()
            replica.resume()
            until(replica.is_primary)
            here.start()
        case 3:
            here.kill()
            replica.pause()
            time.sleep(0.3)
            here.start()
            replica.resume()
        case 4:
            moved = chance.sample(topology.shards_of(here.address()), 5)
            for shard in moved:
                cluster.move(shard, there)
    until(cluster.is_well)


def test_no_read_is_stale(own_cluster, production):
    writers = [Writer.objects.create(name="0") for _ in range(_ROWS)]
    novels = [Novel.objects.create(title="x", writer=writer).pk for writer in writers]
    notes = [Note.objects.create(stars=0).pk for _ in range(_ROWS)]
    shared = multiprocessing.get_context("fork")
    board = _Board(shared, 2 * _ROWS)
    connections.close_all()
    transport.forget_connections()
    workers = [
        shared.Process(
            target=_work, args=(i, board, notes, [each.pk for each in writers], novels), daemon=True
        )
        for i in range(_PROCESSES)
    ]
    for worker in workers:
        worker.start()
    chance, ends, faults = (
        random.Random(int(os.environ.get("STORM_SEED", "7"))),
        time.monotonic() + _SECONDS,
        0,
    )
    while time.monotonic() < ends:
        time.sleep(0.5)
        topology.refresh()
        try:
            _fail(own_cluster, chance)
        except redis.RedisError:
            until(own_cluster.is_well)
        faults += 1
    board.is_over.set()
    for worker in workers:
        worker.join(60)
    stale = []
    while not board.stale.empty():
        stale.append(board.stale.get())
    done = (
        f"{faults} faults, {sum(board.reads)} reads, {sum(board.hits)} hits, "
        f"{sum(board.acknowledged)} writes, {len(stale)} stale\n"
    )
    sys.stdout.write(done)
    assert not stale, stale[:10]
    assert faults > 3, done
    assert sum(board.hits), done
