import logging
import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable, SwitchedOff
from cachelayer.management.terminal import TROUBLE, CacheCommand
from cachelayer.protocol import drain
from cachelayer.redis import shards, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.representation import registry
from cachelayer.tracking import repair_log

logger = logging.getLogger("cachelayer.repair")


class Command(CacheCommand):
    help = "Repair keys that were written without a mark, as soon as they are logged."
    exit_codes = "0: with --once, the repair log is empty. Without --once, it runs until stopped."
    interrupted = "Stopped. From now on the web processes repair the keys that are logged."

    #: Whether it has logged that it polls.
    _polls = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--once", action="store_true", help="Stop when the repair log is empty."
        )
        parser.add_argument(
            "--timeout", type=float, default=60.0, help="With --once: seconds to try (60)."
        )
        parser.add_argument(
            "--heartbeat",
            type=Path,
            metavar="FILE",
            help="Touch this file at least every few seconds, to show that the command is alive.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not conf.get().ENABLED:
            raise SwitchedOff
        if options["once"]:
            self._once(options)
        else:
            self._forever(options)

    def _once(self, options: dict[str, Any]) -> None:
        deadline = time.monotonic() + options["timeout"]
        drained = 0
        while True:
            # The first round trip finds out whether this Redis is trusted. If it is not,
            # the gate's thread reconciles.
            transport.ping()
            try:
                if shards.are_used() or gate.mode is Mode.CLOSED:
                    drained += drain.drain()
                    # On Redis Cluster, keys of a node that is away are still there.
                    if not (shards.are_used() and repair_log.has_backlog()):
                        break
            except CacheUnavailable:
                pass
            if time.monotonic() > deadline:
                raise CommandError(
                    f"The gate is still {gate.mode.value}: {gate.state.reason} "
                    "Check that Redis and Postgres run, then try again.",
                    returncode=TROUBLE,
                )
            time.sleep(0.05)
        if options["json"]:
            self.write_json({"repaired": drained})
        else:
            self.stdout.write(f"Repaired {drained} keys.")

    def _forever(self, options: dict[str, Any]) -> None:
        heartbeat: Path | None = options["heartbeat"]
        if sys.stderr.isatty():
            self.stderr.write("Repairing keys as they are logged. Ctrl-C ends.")
        while True:
            if heartbeat:
                heartbeat.touch()
            try:
                transport.ping()
                # On Redis Cluster, other nodes are drained while one is away.
                if (shards.are_used() or gate.mode is Mode.CLOSED) and repair_log.has_backlog():
                    self._report(drain.drain(), options)
                self._wait()
            except CacheUnavailable:
                time.sleep(conf.get().PROBE_INTERVAL)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Waiting for Postgres: %s", error)
                connections.close_all()
                time.sleep(1)

    def _say_that_it_polls(self, timeout: float) -> None:
        if not self._polls:
            self._polls = True
            logger.warning(
                "A pooler such as PgBouncer is in front of Postgres, so LISTEN does not work. "
                "Polling the repair log every %g s instead.",
                timeout,
            )

    def _report(self, drained: int, options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json({"repaired": drained})
            self.stdout.flush()
        else:
            logger.info("Repaired %s keys.", drained)

    def _wait(self) -> None:
        """Wait until a key is logged, or one drain interval has passed."""
        [using, *others] = sorted(registry.databases())
        timeout = conf.get().DRAIN_INTERVAL / (5 if others else 1)
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [server] = cursor.fetchone()
            if server != connections[using].connection.info.backend_pid:
                # A pooler gives each transaction another connection, so none of them can listen.
                self._say_that_it_polls(timeout)
                time.sleep(timeout)
                return
            cursor.execute(f"LISTEN {repair_log.CHANNEL}")
        # notifies() belongs to psycopg: only the wrapper turns its errors into Django's.
        with connections[using].wrap_database_errors:
            for _ in connections[using].connection.notifies(timeout=timeout, stop_after=1):
                return
