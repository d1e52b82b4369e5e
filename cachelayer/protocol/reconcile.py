"""Reconcile: the only way to close an open gate.

1. If the incarnation belongs to another server, or its epoch differs from that of Postgres, take
   the next epoch and write ``settling`` with it.
2. Settle: this process marks and pushes again; reads still use Postgres.
3. Wait until every process with an open gate has probed Redis again. Then wait until every
   transaction that has written a cached row by then has ended: its mark may be lost or on
   another server, or its keys may have been logged, not marked.
4. If this process took the epoch, sweep: delete all rows, and replace marks with marks of no
   transaction.
5. Repair every key in the log; then write ``trusted``, if the incarnation is still ours.

The transactions are noted after the interval, not before. A writer may decide late in the
interval to write without a mark, and its log row becomes visible only with its COMMIT.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections, transaction
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import drain, key_states, partition, scan, signs_of_life
from cachelayer.redis import epoch, incarnation, keyspace, scripts, transport
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import Gate, Mode, gate
from cachelayer.redis.incarnation import KEY
from cachelayer.representation import registry
from cachelayer.throttled_log import ThrottledLog
from cachelayer.tracking import tracked_tables, triggers

logger = logging.getLogger("cachelayer.reconcile")

#: The key that a reconcile sets and deletes, to test whether it may write.
PROBE = "cachelayer:probe"

_trust = scripts.load("trust")
_probe = scripts.load("probe")
_log = ThrottledLog(logger)
os.register_at_fork(after_in_child=_log.start_afresh)


def until_closed(gate: Gate) -> None:
    """Reconcile repeatedly until the gate is closed. Never raises."""
    memory = _Memory()
    while gate.mode is not Mode.CLOSED:
        started = time.monotonic()
        try:
            closed = _attempt(gate, memory)
        except (RedisError, OSError, CacheUnavailable) as error:
            # Ask again: a process that was frozen in between has missed one answer, but its
            # writers can still mark.
            if not _answers():
                gate.open(error)
            closed = False
        except (DatabaseError, InterfaceError) as error:
            logger.info("The reconcile waits for Postgres: %s", error)
            closed = False
        except Exception:
            _log.say(logging.ERROR, "The reconcile failed. It will be tried again.", exc_info=True)
            closed = False
        finally:
            gate.probed_at = started
            connections.close_all()
        if not closed:
            time.sleep(conf.get().PROBE_INTERVAL)


@dataclass(slots=True)
class _Memory:
    """What one attempt leaves for the next."""

    watch: signs_of_life.Watch = field(default_factory=signs_of_life.Watch)
    #: The epoch that this process has taken, if that attempt came to no end.
    unfinished: str = ""
    #: Whether triggers were missing. Then cached rows may have changed unnoticed.
    was_blind: bool = False


def _attempt(gate: Gate, memory: _Memory) -> bool:
    epoch.ask()
    with transport.fresh_connection() as connection:
        keyspace.decide(partial(incarnation.ask, connection), claim=True)
        found = incarnation.fetch(connection)
        sign = signs_of_life.last(connection)
        refusal = _refusal(connection)
    if found.evicts_marks:
        gate.settle(found.distrust)
        gate.explain(found.distrust)
        return False
    if refusal:
        gate.open(refusal)
        return False
    if missing := missing_triggers():
        memory.was_blind = True
        gate.settle(missing)
        gate.explain(missing)
        return False
    mine = ""
    is_abandoned = found.epoch == memory.unfinished or memory.watch.is_abandoned(found, sign)
    if found.is_foreign or memory.was_blind or (is_abandoned and not found.is_trusted):
        mine = _begin(found)
        if not mine:
            return False
        memory.unfinished = incarnation.epoch_in(mine.encode())
    transport.forget_connections()
    gate.settle("Redis answers again.")
    settled = gate.state
    if not mine and not found.is_trusted:
        return False
    # Our epoch, not the last one, because another reconcile may have begun meanwhile.
    reconciled = f"settling {memory.unfinished}" if mine else f"trusted {found.epoch}"
    signs = signs_of_life.Signs({None: reconciled})
    settle(gate, signs.give)
    if mine:
        _sweep(reconciled, signs)
    drain.drain(reconciled, signs.step)
    if mine:
        if transport.round_trip(_trust([KEY], mine, incarnation.trusted(mine)))[0] != 1:
            return False
    else:
        with transport.fresh_connection() as connection:
            if incarnation.fetch(connection) != found:
                return False
    partition.trust.retire()
    if not gate.close(settled):
        return False
    if partition.is_on():
        partition.trust.lift()
    return True


def _begin(seen: incarnation.Incarnation) -> str:
    """Take the next epoch and write ``settling`` with it on this server.

    Returns "" if another process has done so. One process at a time: two in step could forever
    take a new epoch after the other's ``settling``.
    """
    with ExitStack() as stack:
        for using in sorted(registry.databases()):
            stack.enter_context(transaction.atomic(using=using))
            lock(connections[using])
            if partition.is_on():
                # Processes that trust another server may hit rows there that are marked here.
                partition.trust.declare(connections[using])
        epoch.ask()
        with transport.fresh_connection() as connection:
            found = incarnation.fetch(connection)
        if not found.is_foreign and found.epoch != seen.epoch:
            return ""
        mine = incarnation.settling(found.server, epoch.advance())
        with transport.unverified():
            transport.round_trip(("SET", keyspace.of(KEY), mine))
    return mine


def lock(connection: Any) -> None:
    """Hold a lock until the transaction ends. Skipping a frozen holder does no harm."""
    deadline = time.monotonic() + signs_of_life.ABANDONED * conf.get().PROBE_INTERVAL
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [KEY])
            if cursor.fetchone()[0]:
                return
            time.sleep(0.02)


def _sweep(reconciled: str, signs: signs_of_life.Signs) -> None:
    """Repair every key that this server holds, and give *signs* of life.

    Do so after the wait: a writer that knew only the last epoch may have marked another server,
    while another writer's push has left an older row here. The sweep includes rows of models that
    only another program of this database has registered, because it shares the trust in this
    server.
    """
    prefixes = {cached.prefix for cached in registry.every()}
    for using in registry.databases():
        prefixes |= triggers.prefixes(connections[using])
    for keys in batched(scan.keys(sorted(prefixes), by=signs.step)):
        signs.step(partial(key_states.repair, reconciled=reconciled), keys)


def missing_triggers() -> str:
    """What the database lacks to report every write; "" if it lacks nothing."""
    for using in registry.databases():
        if problems := triggers.problems(connections[using]):
            return f"{problems[0]} {triggers.MEND}"
    return ""


def probe_if_late(gate: Gate) -> None:
    """Before a write without a mark: probe Redis if this process has not done so lately.

    A reconcile in another process waits ``SETTLING_TIME`` for every process with an open gate to
    probe. If this process's thread was held up for longer, this function probes.
    """
    if gate.mode is not Mode.OPEN:
        return
    now = time.monotonic()
    if now - gate.probed_at > conf.get().SETTLING_TIME / 2:
        if _answers():
            gate.settle("Redis answers again.")
        else:
            gate.probed_at = now


def _answers() -> bool:
    """Whether a new connection to Redis can now be made, read and written."""
    try:
        with transport.fresh_connection() as connection:
            incarnation.fetch(connection)
            return not _refusal(connection)
    except (RedisError, OSError):
        return False


def _refusal(connection: Any) -> ResponseError | None:
    """The error if this Redis refuses writes now. Then it would refuse marks, too."""
    probe = _probe([PROBE])
    # Try both ways to send a script, because a user may be allowed only one of them.
    for answer in incarnation.ask(connection, probe, scripts.with_text(probe)):
        if isinstance(answer, ResponseError) and not isinstance(answer, NoScriptError):
            return answer
    return None


def settle(gate: Gate, note: Callable[[], object]) -> None:
    """Wait for the writers that may have decided to write without a mark; call *note* meanwhile."""
    wait(gate.explain, note)


def wait(explain: Callable[[str], None], note: Callable[[], object]) -> None:
    """As ``settle``; *explain* is told what it waits for."""
    time.sleep(conf.get().SETTLING_TIME)
    for using in registry.databases():
        with connections[using].cursor() as cursor:
            noted = _writers(cursor)
            while running := noted.keys() & (now := _writers(cursor)).keys():
                explain(f"Waiting for {', '.join(sorted(now[each] for each in running))}.")
                note()
                time.sleep(0.02)
    explain("Redis answers again.")


def _writers(cursor: Any) -> dict[str, str]:
    """The transactions that have written a cached table or the log, each with a description."""
    cursor.execute(_WRITERS, [tracked_tables.FUNCTION, "cachelayer_repair"])
    return dict(cursor.fetchall())


#: Every statement that writes a table locks it until its transaction ends. Idle transactions that
#: have written none of these tables, or that use another database, are not waited for.
_WRITERS: Final = """
SELECT virtualtransaction, format(
    'a transaction that writes %%s (process %%s%%s, since %%s)', min(relation::regclass::text),
    coalesce(pg_locks.pid::text, 'none: prepared'),
    coalesce(' of ' || nullif(min(application_name), ''), ''),
    coalesce(to_char(min(xact_start), 'HH24:MI:SS'), 'an unknown time'))
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
        'AccessExclusiveLock')
    AND pg_locks.pid IS DISTINCT FROM pg_backend_pid()
    AND (relation IN (SELECT tgrelid FROM pg_trigger WHERE tgfoid = to_regproc(%s))
        OR relation = to_regclass(%s))
GROUP BY virtualtransaction, pg_locks.pid
"""

gate.reconcile = until_closed
