from typing import Any

from django.core.management.base import CommandError, CommandParser

from cachelayer.management.terminal import DIFFERENT, TROUBLE, CacheCommand
from cachelayer.operations import clear
from cachelayer.redis import transport


class Command(CacheCommand):
    help = "Delete cached rows. The next read of each row loads it again."
    exit_codes = f"0: deleted. {DIFFERENT}: nothing was deleted, because the answer was no."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keys", nargs="*", metavar="KEY", help="Only this key: item:<uuid>.")
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
        # input(question) would write the question to standard output, among the results.
        self.stderr.write(
            "Delete every cached row? Reads go to Postgres until the cache is warm again. [y/N] ",
            ending="",
        )
        self.stderr.flush()
        try:
            answer = input()
        except EOFError:
            raise CommandError(
                "No terminal to ask on. Add --yes to clear all.", returncode=TROUBLE
            ) from None
        except KeyboardInterrupt:
            self.interrupted = "Nothing was deleted."
            raise
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was deleted.")
