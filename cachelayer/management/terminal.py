"""The base of all commands: JSON, exit codes, progress on a terminal only, Ctrl-C."""

import json
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from cachelayer.exceptions import CacheUnavailable, SwitchedOff

T = TypeVar("T")

#: Exit codes as in diff: 0 without a difference, 1 with a difference, 2 for trouble.
DIFFERENT: Final = 1
TROUBLE: Final = 2
_INTERRUPTED: Final = 128 + signal.SIGINT
_BROKEN_PIPE: Final = 128 + signal.SIGPIPE


class CacheCommand(BaseCommand):
    """A command that talks to Redis. If Redis does not answer, it ends with a clear message."""

    requires_system_checks: list[str] = []
    #: The command's own part of what ``--help`` says about exit codes.
    exit_codes = "0: done."
    interrupted = "Stopped. Run the command again to finish."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        epilog = (
            f"Exit code: {self.exit_codes} {TROUBLE}: Redis or Postgres does not answer, or the "
            f"command was called wrongly. {_INTERRUPTED}: stopped by Ctrl-C, between two batches."
        )
        return super().create_parser(prog_name, subcommand, epilog=epilog, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Answer as one JSON object.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            output = super().execute(*args, **options)
            # Flush here, so that a closed pipe is noticed before the interpreter exits.
            self.stdout.flush()
        except SwitchedOff as error:
            raise CommandError(str(error), returncode=TROUBLE) from error
        except CacheUnavailable as error:
            raise CommandError(
                f"Redis does not answer ({error}). Start it, or check CACHES; then try again.",
                returncode=TROUBLE,
            ) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"Postgres does not answer ({str(error).strip()}). Start it, or check "
                "DATABASES; then try again.",
                returncode=TROUBLE,
            ) from error
        except KeyboardInterrupt:
            raise CommandError(self.interrupted, returncode=_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has closed the pipe, as head does. Leave nothing to flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_BROKEN_PIPE)
        return output

    def write_json(self, data: Any) -> None:
        self.stdout.write(json.dumps(data))

    def progress(self) -> Any:
        """rich's ``Progress`` on standard error if that is a terminal, else nothing."""
        # Not Console.is_terminal: with FORCE_COLOR it takes a log file for a terminal.
        if not sys.stderr.isatty() or not find_spec("rich"):
            return _NoProgress()
        from rich import progress
        from rich.console import Console

        return progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.completed:,.0f} rows"),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def batches(self, steps: Generator[T, None, None]) -> Iterator[T]:
        """Run each of *steps* to its end: Ctrl-C ends the command after the current step.

        So no batch stops in the middle and leaves leases. A second Ctrl-C does not wait.
        """
        # A batch that was begun ahead is given up before the process ends.
        with closing(steps):
            while True:
                with _whole():
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step


class _NoProgress:
    """Replaces rich's ``Progress`` when the output is not a terminal."""

    disable = True

    def __enter__(self) -> "_NoProgress":
        return self

    def __exit__(self, *error: object) -> None: ...

    def add_task(self, description: str, total: float | None = None) -> int:
        return 0

    def update(self, task: int, *, completed: float) -> None: ...

    def advance(self, task: int, advance: float) -> None: ...


@contextmanager
def _whole() -> Iterator[None]:
    """Delay the first Ctrl-C to the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
