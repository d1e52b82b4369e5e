"""The strict choice: no stale read even while Redis is cut off from some processes only.

With ``CACHELAYER["PARTITION"] = "strict"`` a process serves hits only while it
holds trust: within the last ``TRUST_LIFETIME`` it has asked Postgres, and
nobody was writing without marks. A process that cannot mark first declares that,
in a row that all can see, and waits that lifetime out before it commits: by then
every other process has either seen the row or lost its trust. So the first write
of an outage takes a second longer, and the others do not.

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

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayer import conf, repair
from cachelayer.ticker import Ticker

logger = logging.getLogger("cachelayer.strict")

#: A declaration is renewed when less than this share of its life is left.
_RENEW: Final = 0.5


def is_on() -> bool:
    return conf.get().PARTITION == "strict"


class Trust:
    """What this process knows about the others' unmarked writes."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        #: Until when hits may be served (monotonic seconds).
        self._until = 0.0
        self._used = False
        #: This process's name in the table, and until when its declaration stands.
        self._name = secrets.token_hex(8)
        self._declared_until = 0.0
        #: Names under which nobody writes any more.
        self._retired: list[str] = []

    def held(self) -> bool:
        """Whether a hit may be served now. Asks in the background for the next time."""
        if not is_on():
            return True
        self._used = True
        if time.monotonic() < self._until:
            ticker.poke()
            return True
        ticker.hurry()
        return False

    def ask(self) -> bool:
        """Ask every database whether somebody writes without marks; never raises.

        Answers whether to ask again soon: while reads go on.
        """
        asked_at = time.monotonic()
        used, self._used = self._used, False
        try:
            if all(_nobody_writes_unmarked(using) for using in repair.databases()):
                # From when the question was sent: the answer may be older than its arrival.
                self._until = asked_at + conf.get().TRUST_LIFETIME
        except (DatabaseError, InterfaceError) as error:
            logger.debug("Trust was not renewed: %s", error)
            connections.close_all()
        return used

    def declare(self, connection: BaseDatabaseWrapper) -> None:
        """Before a COMMIT without marks: let every process know, and wait until it does.

        Raises ``DatabaseError``; then the write must not be committed.
        """
        lifetime = conf.get().MARK_LIFETIME
        now = time.monotonic()
        if now < self._declared_until - _RENEW * lifetime:
            return
        stood = now < self._declared_until
        with _connection_of_its_own(connection) as own, own.cursor() as cursor:
            # Until after the longest transaction that relies on it.
            cursor.execute(
                "INSERT INTO cachelayer_outage (process, until) "
                "VALUES (%s, now() + make_interval(secs => %s)) "
                "ON CONFLICT (process) DO UPDATE SET until = excluded.until",
                [self._name, 2 * lifetime],
            )
        if not stood:
            _wait(conf.get().TRUST_LIFETIME * 1.1)
        # Shorter than the row's: whoever finds the row gone may trust again.
        self._declared_until = now + lifetime

    def retire(self) -> None:
        """Before the gate closes: who needs a declaration from here makes a new one, and waits."""
        if self._declared_until:
            self._retired.append(self._name)
            self._name, self._declared_until = secrets.token_hex(8), 0.0

    def lift(self) -> None:
        """The gate is closed: withdraw what was retired. Raises ``DatabaseError``."""
        for using in repair.databases():
            with connections[using].cursor() as cursor:
                cursor.execute(
                    "DELETE FROM cachelayer_outage WHERE process = ANY(%s)", [self._retired]
                )
        self._retired.clear()


def _nobody_writes_unmarked(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM cachelayer_outage WHERE until > now()) "
            "AND NOT EXISTS (SELECT FROM cachelayer_repair)"
        )
        [nobody] = cursor.fetchone()
    return bool(nobody)


@contextmanager
def _connection_of_its_own(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """Another connection to the same database: the declaration is seen before the COMMIT."""
    own = connection.copy()
    try:
        yield own
    finally:
        own.close()


def _wait(seconds: float) -> None:
    time.sleep(seconds)


trust = Trust()
ticker = Ticker("cachelayer-trust", lambda: conf.get().TRUST_LIFETIME / 3, trust.ask)
os.register_at_fork(after_in_child=trust.start_afresh)
