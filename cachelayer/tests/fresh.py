"""A Redis with nothing in it, which is trusted all the same; and an empty repair log."""

import threading
import time
from typing import Final

import psycopg
from django.db import connection

from cachelayer.redis import (
    epoch,
    eviction,
    incarnation,
    keyspace,
    shard_epochs,
    shards,
    topology,
    transport,
    variants,
)
from cachelayer.redis.gate import RECONCILE, gate
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.tests.pgbouncer import direct_parameters

#: How the test database's name ends: not in the way by which a process knows one.
TEST_DATABASE: Final = "_suite"

#: Seconds. A thread that waits for what a test holds, or that sleeps, is not waited for longer.
_PATIENCE: Final = 30.0


def empty_redis() -> None:
    """Forget every key; what is left is a reconciled, empty Redis."""
    if shards.are_used():
        _empty_cluster()
        return
    with transport.fresh_connection() as fresh:
        server = incarnation.fetch(fresh).server
    # At once: a thread in the background must not find it flushed.
    pipeline = transport.client().pipeline(transaction=True)
    pipeline.flushdb()
    trusted = incarnation.trusted(incarnation.settling(server, epoch.known()))
    pipeline.set(keyspace.of(incarnation.KEY), trusted)
    pipeline.execute()


def _empty_cluster() -> None:
    """The same for every primary of a cluster, and for each shard."""
    known = shard_epochs.ask()
    topology.forget()
    for node in topology.primaries():
        with topology.connection_to(node) as fresh:
            [info] = incarnation.ask(fresh, ("INFO",))
            server = incarnation.parse(info, None, eviction.said(info)).server
            commands: list[tuple[str, ...]] = [("FLUSHALL",)]
            for shard in topology.shards_of(node):
                value = incarnation.settling(server, known.of_shard[shard])
                [key] = keyspace.all_of([incarnation.KEY], shard)
                commands.append(("SET", key, incarnation.trusted(value)))
            answers = incarnation.ask(fresh, *commands)
            assert not any(isinstance(answer, Exception) for answer in answers), answers


def trust_redis() -> None:
    """As in a new process, with an empty Redis: the gate is closed."""
    end_reconcile()
    # It knows that its database and its shapes own the plain keys: else Postgres would be asked.
    keyspace._prefix = keyspace.said() or ""
    variants._own = {}
    shard_epochs.forget()
    epoch.hear(_fresh_postgres())
    empty_redis()
    # What was left out of its log is not summed up in the log of the next test.
    gate._log.start_afresh()
    gate.start_afresh()
    shard_gates._log.start_afresh()
    shard_gates.start_afresh()
    transport.forget_connections()


def end_reconcile() -> None:
    """Begin the gate afresh, when all threads of the last test have ended: they would settle it.

    All: one that settles a gate that was begun afresh starts another.
    """
    deadline = time.monotonic() + _PATIENCE
    gate.start_afresh()
    shard_gates.start_afresh()
    while time.monotonic() < deadline:
        running = [each for each in threading.enumerate() if each.name == RECONCILE]
        if not running:
            break
        if running[0].is_alive():  # Not of one that is about to start.
            running[0].join(0.01)
        gate.start_afresh()
        shard_gates.start_afresh()


def _fresh_postgres() -> str:
    """Empty the repair log, if the test database is there; answer its epoch.

    Past Django: a test need not ask for the database. Nor does a flush empty these tables.
    """
    name = str(connection.settings_dict["NAME"])
    if not name.endswith(TEST_DATABASE):
        return "1"
    with (
        psycopg.connect(**direct_parameters(), autocommit=True) as outside,
        outside.cursor() as cursor,
    ):
        cursor.execute("SELECT to_regclass('cachelayer_epoch') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return "1"
        cursor.execute("DELETE FROM cachelayer_repair; DELETE FROM cachelayer_outage")
        if shards.are_used():
            cursor.execute(shard_epochs._WRITE % ",".join(map(str, range(shards.COUNT))))
        cursor.execute(epoch.LAST)
        [last] = cursor.fetchone() or [1]
    return str(last)
