"""The strict choice: no stale read even while Redis is cut off from some processes only.

With ``CACHELAYER["PARTITION"] = "strict"`` a process serves hits only while it
holds trust: within the last ``TRUST_LIFETIME`` it has asked Postgres, and
nobody was writing without marks. A process that cannot mark first declares that,
in a row that all can see, and waits that lifetime out before it commits: by then
every other process has either seen the row or lost its trust. So the first write
of an outage takes a second longer, and the others do not. A lock that such a transaction
holds until it ends keeps the row from being taken away.

The idea is a lease on the right to read locally (Gray and Cheriton, SOSP 1989),
with Postgres as the place where it is revoked.
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

#: Seconds after which others take a declaration for a dead process's. They wait for the
#: transactions that rely on it all the same; its process, if it lives, declares again.
_LIFETIME: Final = 60.0
#: The name of the advisory lock: shared by who relies on a declaration, exclusive to lift one.
_LOCK: Final = "cachelayer_outage"


def is_on() -> bool:
    settings = conf.get()
    return settings.PARTITION == "strict" and settings.ENABLED


class Trust:
    """What this process knows about the others' unmarked writes."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        #: Until when hits may be served (monotonic seconds), and of a Redis of which epoch.
        self._until = 0.0
        self._epoch = ""
        self._used = False
        #: This process's name in the table, and whether everybody has had time to see it there.
        self._name = secrets.token_hex(8)
        self._is_known_to_all = False
        #: Names under which nobody writes any more.
        self._retired: list[str] = []

    def held(self) -> str:
        """The epoch of the Redis whose hits may be served now; "" for none.

        Asks in the background for the next time.
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
        """Ask every database whether somebody writes without marks; never raises.

        Answers whether to ask again soon: while reads go on.
        """
        asked_at = time.monotonic()
        used, self._used = self._used, False
        try:
            found = {using: _epoch_unless_unmarked(using) for using in registry.databases()}
            if all(found.values()):
                self._epoch = epoch.hear(epoch.text(found))
                # From when the question was sent: the answer may be older than its arrival.
                self._until = asked_at + conf.get().TRUST_LIFETIME
            elif any(map(_has_leftovers, found)):
                self.lift()
        except (DatabaseError, InterfaceError) as error:
            logger.debug("Trust was not renewed: %s", error)
            connections.close_all()
        return used

    def declare(self, connection: BaseDatabaseWrapper) -> None:
        """Before a COMMIT without marks: let every process know, and wait until it does.

        The transaction on *connection* keeps the declaration from being lifted until it ends.
        Raises ``DatabaseError``; then the write must not be committed.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s))", [_LOCK])
            # Under another level the snapshot is older than the lock.
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
        """As ``declare``, without a transaction that relies on it."""
        # On another connection: it is seen before the COMMIT.
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
            # Not where it was retired meanwhile: the next one is to wait for its own.
            self._is_known_to_all = name == self._name

    def retire(self) -> None:
        """Before the gate closes: who needs a declaration from here makes a new one, and waits."""
        self._retired.append(self._name)
        self._name, self._is_known_to_all = secrets.token_hex(8), False

    def lift(self) -> None:
        """The gate is closed: withdraw what was retired, and what a dead process has left.

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
    """The epoch in the database *using*; "" while somebody writes without marks."""
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
    """Another connection to the same database, past psycopg's pool.

    Every connection of the pool may be held by a writer that waits for one more.
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
