"""Reconcile: the only way to close an open gate.

1. If the incarnation is not this server's, write ``settling`` with a nonce and
   sweep: delete everything cached, replace every mark.
2. Settle: this process marks and pushes again; reads still use Postgres. Repair
   every key in the repair log.
3. Wait until every process with an open gate has looked at Redis again, then
   until every transaction that was running then has ended: its mark may be lost,
   or it may have been logged and not marked.
4. Repair the log once more; then ``trusted``, if the nonce is still ours.

The design notes the running transactions in step 1. In code a writer decides
"no mark", and its log row becomes visible only with its COMMIT: one that decides
late in the probe interval would be missed by the second repair. So they are
noted after the interval.
"""

import logging
import os
import time
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cachelayer import clear, conf, incarnation, link, repair, scripts, states, strict
from cachelayer.batches import batched
from cachelayer.gate import CacheUnavailable, Gate, Mode
from cachelayer.incarnation import KEY
from cachelayer.quiet import Quiet

logger = logging.getLogger("cachelayer.reconcile")

#: What a reconcile sets and deletes again, to see whether it may.
PROBE = "cachelayer:probe"

_trust = scripts.load("trust")
_probe = scripts.load("probe")
_log = Quiet(logger)
os.register_at_fork(after_in_child=_log.start_afresh)

#: Settling that has not ended after so many probe intervals was left by a process
#: that died; another takes over.
ABANDONED = 20


def until_closed(gate: Gate) -> None:
    """Reconcile, again and again, until the gate is closed. Never raises."""
    settling_since: dict[str, float] = {}
    while gate.mode is not Mode.CLOSED:
        started = time.monotonic()
        try:
            closed = _attempt(gate, settling_since)
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
            gate.looked_at = started
            connections.close_all()
        if not closed:
            time.sleep(conf.get().PROBE_INTERVAL)


def _attempt(gate: Gate, settling_since: dict[str, float]) -> bool:
    with link.fresh_connection() as connection:
        found = incarnation.look(connection)
        refusal = _refusal(connection)
    if found.evicts_marks:
        gate.settle(found.distrust)
        gate.explain(found.distrust)
        return False
    if refusal:
        gate.open(refusal)
        return False
    mine = ""
    if found.is_foreign or _is_abandoned(found, settling_since):
        mine = _begin(found)
    link.forget_connections()
    gate.settle("Redis answers again.")
    settled = gate.state
    repair.drain()
    if not mine and not found.is_trusted:
        return False
    settle()
    repair.drain()
    if mine:
        if link.round_trip(_trust([KEY], mine, incarnation.trusted(mine)))[0] != 1:
            return False
    else:
        with link.fresh_connection() as connection:
            if incarnation.look(connection) != found:
                return False
    strict.trust.retire()
    if not gate.close(settled):
        return False
    if strict.is_on():
        strict.trust.lift()
    return True


def _begin(found: incarnation.Incarnation) -> str:
    """Write ``settling``; sweep away what this server holds, unless it was only abandoned."""
    mine = incarnation.settling(found.server)
    with link.unverified():
        link.round_trip(("SET", KEY, mine))
        if found.is_foreign:
            for keys in batched(clear.keys()):
                states.repair(keys)
    return mine


def _is_abandoned(found: incarnation.Incarnation, settling_since: dict[str, float]) -> bool:
    if found.is_trusted or found.is_foreign:
        return False
    since = settling_since.setdefault(found.nonce, time.monotonic())
    return time.monotonic() - since > ABANDONED * conf.get().PROBE_INTERVAL


def look_if_late(gate: Gate) -> None:
    """Before a writer goes without a mark: has this process looked at Redis lately?

    A reconcile elsewhere waits ``SETTLING_TIME`` for every open gate to have
    looked. A process whose thread was held up for longer looks here.
    """
    if gate.mode is not Mode.OPEN:
        return
    now = time.monotonic()
    if now - gate.looked_at > conf.get().SETTLING_TIME / 2:
        if _answers():
            gate.settle("Redis answers again.")
        else:
            gate.looked_at = now


def _answers() -> bool:
    """Whether a new connection to Redis can be made, read and written by now."""
    try:
        with link.fresh_connection() as connection:
            incarnation.look(connection)
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


def settle() -> None:
    """Wait out the writers that may have decided to go without a mark."""
    time.sleep(conf.get().SETTLING_TIME)
    for using in repair.databases():
        with connections[using].cursor() as cursor:
            # Not the snapshot's xmax: that follows the last transaction that has
            # ended, and a younger one that is running would not be waited for.
            cursor.execute("SELECT pg_current_xact_id()::text")
            [noted] = cursor.fetchone()
            while not _have_ended(cursor, noted):
                time.sleep(0.02)


def _have_ended(cursor: Any, noted: str) -> bool:
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8", [noted])
    [ended] = cursor.fetchone()
    return bool(ended)
