"""What the commands share: JSON, progress on a terminal, silence in a pipe."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from cachelayer.gate import CacheUnavailable


class CacheCommand(BaseCommand):
    """A command that talks to Redis: without an answer it ends with a sentence."""

    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Answer as one JSON object.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CacheUnavailable as error:
            raise CommandError(
                f"Redis does not answer ({error}). Start it, or check REDIS_URL; then repeat."
            ) from error
        except OperationalError as error:
            raise CommandError(
                f"Postgres does not answer ({str(error).strip()}). Start it, or check "
                "DATABASE_URL; then repeat."
            ) from error
        except KeyboardInterrupt:
            # Every batch is complete in itself, so stopping between two is safe.
            sentence = "Stopped. Run the command again to finish."
            raise CommandError(sentence, returncode=130) from None

    def write_json(self, data: Any) -> None:
        self.stdout.write(json.dumps(data))

    def progress(self) -> Progress:
        """A live line on standard error where that is a terminal, else nothing."""
        return Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.completed:,.0f} rows"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            # Not Console.is_terminal: FORCE_COLOR would make a log file one.
            disable=not sys.stderr.isatty(),
        )
