from typing import Any

from django.core.management.base import CommandError, CommandParser

from cachelayer.management.terminal import DIFFERENT, TROUBLE, CacheCommand
from cachelayer.operations import clear
from cachelayer.redis import transport


class Command(CacheCommand):
    help = "Delete cached rows; the next read of each loads it again."
    exit_codes = f"0: deleted. {DIFFERENT}: nothing was deleted, for the answer was no."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keys", nargs="*", metavar="KEY", help="Only these, e.g. item:<uuid>.")
        parser.add_argument("--yes", action="store_true", help="Do not ask before clearing all.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keys"]:
            deleted = self._clear_keys(options["keys"])
        else:
            if not options["yes"]:
                self._ask()
            deleted = self._clear_all()
        if options["json"]:
            self.write_json({"status": "cleared", "keys_deleted": deleted})
        else:
            self.stdout.write(f"Deleted {deleted} keys.")

    def _clear_keys(self, keys: list[str]) -> int:
        try:
            return clear.clear_keys(keys)
        except ValueError as error:
            raise CommandError(str(error), returncode=TROUBLE) from error

    def _clear_all(self) -> int:
        deleted = 0
        with self.progress() as progress:
            [keys] = transport.round_trip(("DBSIZE",))
            task = progress.add_task("Clearing", total=keys)
            for count in self.batches(clear.clear_all()):
                deleted += count
                progress.advance(task, count)
        return deleted

    def _ask(self) -> None:
        # Not input(question): that writes to standard output, among the results.
        self.stderr.write(
            "Delete every cached row? Reads go to Postgres until it is warm again. [y/N] ",
            ending="",
        )
        self.stderr.flush()
        try:
            answer = input()
        except EOFError:
            raise CommandError(
                "Nobody is there to be asked. Add --yes to clear all.", returncode=TROUBLE
            ) from None
        except KeyboardInterrupt:
            self.interrupted = "Nothing was deleted."
            raise
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was deleted.")
