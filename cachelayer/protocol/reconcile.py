"""Reconcile: the only way to close an open gate.

1. If the incarnation is not this server's, or has another epoch than Postgres, take the next
   epoch and write ``settling`` with it.
2. Settle: this process marks and pushes again; reads still use Postgres.
3. Wait until every process with an open gate has looked at Redis again, then until every
   transaction has ended that had written a cached row by then: its mark may be lost, on
   another server, or it may have been logged and not marked.
4. Sweep, where the epoch is ours: what is cached is deleted, marks are made nobody's.
5. Repair every key in the log; then ``trusted``, if the incarnation is still ours.

The transactions are noted after the interval: a writer decides "no mark", and its log row
becomes visible only with its COMMIT, so one that decides late in the interval would be missed.
"""

import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections, transaction
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import drain, key_states, partition, scan
from cachelayer.redis import epoch, incarnation, keyspace, scripts, transport
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import Gate, Mode, gate
from cachelayer.redis.incarnation import KEY
from cachelayer.representation import registry
from cachelayer.throttled_log import ThrottledLog
from cachelayer.tracking import tracked_tables, triggers

logger = logging.getLogger("cachelayer.reconcile")

#: What a reconcile sets and deletes again, to see whether it may.
PROBE = "cachelayer:probe"

_trust = scripts.load("trust")
_probe = scripts.load("probe")
_log = ThrottledLog(logger)
os.register_at_fork(after_in_child=_log.start_afresh)

#: Settling that has not ended after so many probe intervals was left by a process
#: that died; another takes over.
ABANDONED = 20


def until_closed(gate: Gate) -> None:
    """Reconcile, again and again, until the gate is closed. Never raises."""
    memory = _Memory()
    while gate.mode is not Mode.CLOSED:
        started = time.monotonic()
        try:
            closed = _attempt(gate, memory)
        except (RedisError, OSError, CacheUnavailable) as error:
            # Asked again: a process that was frozen in the middle has missed one
            # answer, and its writers can still mark.
            if not _answers():
                gate.open(error)
            closed = False
        except (DatabaseError, InterfaceError) as error:
            logger.info("Reconcile waits for Postgres: %s", error)
            closed = False
        except Exception:
            _log.say(logging.ERROR, "Reconcile failed; it will be tried again.", exc_info=True)
            closed = False
        finally:
            gate.probed_at = started
            connections.close_all()
        if not closed:
            time.sleep(conf.get().PROBE_INTERVAL)


@dataclass(slots=True)
class _Memory:
    """What one attempt tells the next."""

    #: By epoch: when a settling was first seen (monotonic seconds).
    settling_since: dict[str, float] = field(default_factory=dict)
    #: Whether triggers were missing: then what is cached may have been written unseen.
    was_blind: bool = False


def _attempt(gate: Gate, memory: _Memory) -> bool:
    epoch.ask()
    with transport.fresh_connection() as connection:
        keyspace.decide(partial(incarnation.ask, connection), claim=True)
        found = incarnation.fetch(connection)
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
    if found.is_foreign or memory.was_blind or _is_abandoned(found, memory.settling_since):
        mine = _begin(found)
        if not mine:
            return False
    transport.forget_connections()
    gate.settle("Redis answers again.")
    settled = gate.state
    if not mine and not found.is_trusted:
        return False
    settle(gate)
    # Its own epoch, and not the last: another reconcile may have begun meanwhile.
    reconciled = f"settling {incarnation.epoch_in(mine.encode())}" if mine else None
    if reconciled:
        _sweep(reconciled)
    drain.drain(reconciled or f"trusted {found.epoch}")
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
    """Take the next epoch and write ``settling`` with it on this server; "" where others have.

    One at a time: two in step could each take a new epoch after the other's ``settling``, for ever.
    """
    with ExitStack() as stack:
        for using in sorted(registry.databases()):
            stack.enter_context(transaction.atomic(using=using))
            _lock(connections[using])
            if partition.is_on():
                # Who trusts another server may hit there what is marked here from now on.
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


def _lock(connection: Any) -> None:
    """Until the transaction ends; a holder that is frozen is passed over, and nothing is wrong."""
    deadline = time.monotonic() + ABANDONED * conf.get().PROBE_INTERVAL
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [KEY])
            if cursor.fetchone()[0]:
                return
            time.sleep(0.02)


def _sweep(reconciled: str) -> None:
    """Repair every key that this server holds.

    After the wait: a writer that knew the last epoch only may have marked another server, and
    here another's push has left a row that is older than its. Rows of models that only another
    program of this database has registered are among them: it trusts what is trusted here.
    """
    prefixes = {cached.prefix for cached in registry.every()}
    for using in registry.databases():
        prefixes |= triggers.prefixes(connections[using])
    for keys in batched(scan.keys(sorted(prefixes))):
        key_states.repair(keys, reconciled)


def missing_triggers() -> str:
    """What the database lacks to tell of every write; "" when it lacks nothing."""
    for using in registry.databases():
        if problems := triggers.problems(connections[using]):
            return f"{problems[0]} {triggers.MEND}"
    return ""


def _is_abandoned(found: incarnation.Incarnation, settling_since: dict[str, float]) -> bool:
    if found.is_trusted or found.is_foreign:
        return False
    since = settling_since.setdefault(found.epoch, time.monotonic())
    return time.monotonic() - since > ABANDONED * conf.get().PROBE_INTERVAL


def probe_if_late(gate: Gate) -> None:
    """Before a writer goes without a mark: has this process looked at Redis lately?

    A reconcile elsewhere waits ``SETTLING_TIME`` for every open gate to have
    looked. A process whose thread was held up for longer looks here.
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
    """Whether a new connection to Redis can be made, read and written by now."""
    try:
        with transport.fresh_connection() as connection:
            incarnation.fetch(connection)
            return not _refusal(connection)
    except (RedisError, OSError):
        return False


def _refusal(connection: Any) -> ResponseError | None:
    """What this Redis says where it takes no write now: no mark either, so nobody could mark."""
    probe = _probe([PROBE])
    # Both ways that a script is sent: a user may have been given one of them.
    for answer in incarnation.ask(connection, probe, scripts.with_text(probe)):
        if isinstance(answer, ResponseError) and not isinstance(answer, NoScriptError):
            return answer
    return None


def settle(gate: Gate) -> None:
    """Wait out the writers that may have decided to go without a mark."""
    time.sleep(conf.get().SETTLING_TIME)
    for using in registry.databases():
        with connections[using].cursor() as cursor:
            noted = _writers(cursor)
            while running := noted.keys() & (now := _writers(cursor)).keys():
                gate.explain(f"Waiting for {', '.join(sorted(now[each] for each in running))}.")
                time.sleep(0.02)
    gate.explain("Redis answers again.")


def _writers(cursor: Any) -> dict[str, str]:
    """The transactions that have written a cached table or the log, each with what it is."""
    cursor.execute(_WRITERS, [tracked_tables.FUNCTION, "cachelayer_repair"])
    return dict(cursor.fetchall())


#: Every statement that writes a table locks it until its transaction has ended. An idle
#: transaction that has written none of these, or another database, is waited for by nobody.
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
