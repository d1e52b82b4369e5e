import sys
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from cachelayer import stats
from cachelayer.terminal import CacheCommand


class Command(CacheCommand):
    help = "Show hits, misses, cached rows and the state of the gate."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--watch", action="store_true", help="Show them anew every interval.")
        parser.add_argument(
            "--interval", type=float, default=1.0, help="Seconds between two looks (1)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["interval"] <= 0:
            raise CommandError("--interval is in seconds, above 0.")
        try:
            self._show(options["json"])
            while options["watch"]:
                time.sleep(options["interval"])
                if not options["json"]:
                    self.stdout.write("")
                self._show(options["json"])
        except KeyboardInterrupt:
            # The way to end --watch: nothing is left undone.
            sys.exit(130)

    def _show(self, as_json: bool) -> None:
        collected = stats.collect()
        if as_json:
            self.write_json(collected)
            self.stdout.flush()
            return
        for name, value in collected.items():
            if name == "gate":
                name = "gate (this process)"
                value = _gate(value)
            elif name == "repair":
                value = _repair(value)
            elif name == "live_check":
                value = _live_check(value)
            elif value is None:
                value = "unknown while Redis is away"
            elif name == "hit_rate":
                value = f"{value} %"
            self.stdout.write(f"{name:<20} {value}")
        self.stdout.flush()


def _gate(gate: dict[str, Any]) -> str:
    changes = f"{gate['changes']} changes in this process"
    return f"{gate['state']} since {gate['since']} ({changes}) {gate['reason']}".rstrip()


def _repair(repair: dict[str, Any]) -> str:
    if repair["backlog"] is None:
        return "unknown while Postgres is away"
    return f"{repair['backlog']} keys wait, the oldest for {repair['lag_seconds']} s"


def _live_check(check: dict[str, Any]) -> str:
    if check["checked"] is None:
        return "unknown while Redis is away"
    found = f"{check['stale']} of {check['checked']} checked hits were stale"
    if check["upper_bound"] is None:
        return found
    return f"{found}; below {check['upper_bound']:.3g} of all hits with 95 % confidence"
