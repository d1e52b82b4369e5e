"""The strict mode: no stale read, even while only some processes can reach Redis.

With ``CACHELAYER["PARTITION"] = "strict"``, a process serves hits only while it holds trust:
within the last ``TRUST_LIFETIME`` Postgres has confirmed that no process writes without marks. A
process that cannot mark first inserts a declaration, a row that all processes can see. Before it
commits, it waits for ``TRUST_LIFETIME``: by then every other process has seen the row or lost its
trust. So the first write of an outage takes a second longer; later writes do not. Each
transaction without marks holds a lock until it ends, so that the declaration stays.

The idea is a lease on the right to read locally (Gray and Cheriton, SOSP 1989), which is revoked
through Postgres.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import conf
from cachelayer.background_task import BackgroundTask
from cachelayer.redis import epoch
from cachelayer.representation import registry

logger = logging.getLogger("cachelayer.strict")

#: Seconds after which other processes take the owner of a declaration for dead. They still wait
#: for the transactions that rely on it. The owner, if it is alive, declares again.
_LIFETIME: Final = 60.0
#: The advisory lock: shared by transactions that rely on a declaration, exclusive to lift one.
_LOCK: Final = "cachelayer_outage"


def is_on() -> bool:
    settings = conf.get()
    return settings.PARTITION == "strict" and settings.ENABLED


class Trust:
    """What this process knows about other processes' writes without marks."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        #: Until when hits may be served (monotonic seconds), and the epoch of their Redis.
        self._until = 0.0
        self._epoch = ""
        self._used = False
        #: This process's name in the table, and whether all have had time to see it there.
        self._name = secrets.token_hex(8)
        self._is_known_to_all = False
        #: Former names, under which this process does not write any more.
        self._retired: list[str] = []

    def held(self) -> str:
        """The epoch of the Redis whose hits may be served now; "" if there is none.

        Renews the trust in the background.
        """
        self._used = True
        if time.monotonic() < self._until:
            task.wake()
            return self._epoch
        self.ask_again()
        return ""

    def ask_again(self) -> None:
        """Ask in the background, at once."""
        task.wake_now()

    def ask(self) -> bool:
        """Ask every database whether a process writes without marks; never raises.

        Returns whether to ask again soon, which is the case while there are reads.
        """
        asked_at = time.monotonic()
        used, self._used = self._used, False
        try:
            found = {using: _epoch_unless_unmarked(using) for using in registry.databases()}
            if all(found.values()):
                self._epoch = epoch.hear(epoch.text(found))
                # Count from when the question was sent, because the answer may be that old.
                self._until = asked_at + conf.get().TRUST_LIFETIME
            elif any(map(_has_leftovers, found)):
                self.lift()
        except (DatabaseError, InterfaceError) as error:
            logger.debug("Trust was not renewed: %s", error)
            connections.close_all()
        return used

    def declare(self, connection: BaseDatabaseWrapper) -> None:
        """Before a COMMIT without marks: declare it, and wait until every process knows.

        Until it ends, the transaction on *connection* keeps the declaration from being lifted. If
        this raises ``DatabaseError``, the write must not be committed.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s))", [_LOCK])
            # At another isolation level, the snapshot is older than the lock.
            cursor.execute(
                "SELECT current_setting('transaction_isolation') = 'read committed' AND EXISTS "
                "(SELECT FROM cachelayer_outage WHERE process = %s "
                "AND until > now() + make_interval(secs => %s))",
                [self._name, _LIFETIME / 2],
            )
            [stands] = cursor.fetchone()
        if not (stands and self._is_known_to_all):
            self.declare_alone(connection)

    def declare_alone(self, connection: BaseDatabaseWrapper) -> None:
        """Like ``declare``, without a transaction that relies on it."""
        # On another connection, so that it is visible before the COMMIT.
        with own_connection(connection) as own, own.cursor() as cursor:
            cursor.execute(
                "INSERT INTO cachelayer_outage (process, until) "
                "VALUES (%s, now() + make_interval(secs => %s)) "
                "ON CONFLICT (process) DO UPDATE SET until = excluded.until RETURNING xmax = 0",
                [self._name, _LIFETIME],
            )
            [is_new] = cursor.fetchone()
        if is_new or not self._is_known_to_all:
            name = self._name
            _wait(conf.get().TRUST_LIFETIME * 1.1)
            # If the name was retired meanwhile, the next declaration must wait again.
            self._is_known_to_all = name == self._name

    def retire(self) -> None:
        """Before the gate closes: later writes without marks need a new declaration, and wait."""
        self._retired.append(self._name)
        self._name, self._is_known_to_all = secrets.token_hex(8), False

    def lift(self) -> None:
        """After the gate has closed: delete retired declarations, and those of dead processes.

        Waits for the transactions that rely on a declaration. Raises ``DatabaseError``.
        """
        for using in registry.databases():
            with transaction.atomic(using=using), connections[using].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
                cursor.execute(
                    "DELETE FROM cachelayer_outage WHERE process = ANY(%s) OR until < now()",
                    [self._retired],
                )
        self._retired.clear()


def _epoch_unless_unmarked(using: str) -> str:
    """The epoch in the database *using*; "" while a process writes without marks."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT ({epoch.LAST})::text, NOT EXISTS (SELECT FROM cachelayer_outage) "
            "AND NOT EXISTS (SELECT FROM cachelayer_repair)"
        )
        found, nobody = cursor.fetchone()
    return str(found) if nobody else ""


def _has_leftovers(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM cachelayer_outage WHERE until < now())")
        return bool(cursor.fetchone()[0])


@contextmanager
def own_connection(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """Another connection to the same database, outside psycopg's pool.

    In the pool, writers that wait for a second connection may hold all connections.
    """
    own = connection.copy()
    options = {k: v for k, v in own.settings_dict["OPTIONS"].items() if k != "pool"}
    own.settings_dict = {**own.settings_dict, "OPTIONS": options}
    try:
        yield own
    finally:
        own.close()


def _wait(seconds: float) -> None:
    time.sleep(seconds)


trust = Trust()
task = BackgroundTask("cachelayer-trust", lambda: conf.get().TRUST_LIFETIME / 3, trust.ask)
os.register_at_fork(after_in_child=trust.start_afresh)
