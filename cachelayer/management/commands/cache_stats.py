import sys
import time
from importlib.util import find_spec
from typing import Any

from django.core.management.base import CommandError, CommandParser

from cachelayer.management.terminal import TROUBLE, CacheCommand
from cachelayer.operations import stats


class Command(CacheCommand):
    help = "Show hits, misses, cached rows and the state of the gate."
    exit_codes = "0: shown, also while Redis is away."
    interrupted = "Stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--watch",
            action="store_true",
            help="Repeat every interval: as a page on a terminal, else as one text (with --json: "
            "one line) after another.",
        )
        parser.add_argument(
            "--interval", type=float, default=1.0, help="With --watch: seconds to wait (1)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["interval"] > 0:
            raise CommandError("--interval must be above 0 seconds.", returncode=TROUBLE)
        if not options["watch"]:
            self._show(options["json"])
            return
        try:
            if self.stdout.isatty() and not options["json"] and find_spec("rich"):
                self._watch_on_terminal(options["interval"])
            else:
                self._watch(options["json"], options["interval"])
        except KeyboardInterrupt:
            # Ctrl-C is the way to end --watch, so there is nothing to report.
            sys.exit(130)

    def _watch_on_terminal(self, interval: float) -> None:
        from rich.console import Console
        from rich.live import Live

        from cachelayer.management import stats_screen

        # The bare stream, because Django's wrapper ends every write with a line feed.
        console = Console(file=self.stdout._out)  # type: ignore[arg-type]
        snapshot = stats_screen.Snapshot.take(None)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(stats_screen.draw(snapshot, console), refresh=True)
                time.sleep(interval)
                snapshot = stats_screen.Snapshot.take(snapshot)

    def _watch(self, as_json: bool, interval: float) -> None:
        while True:
            self._show(as_json)
            time.sleep(interval)
            if not as_json:
                self.stdout.write("")

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
