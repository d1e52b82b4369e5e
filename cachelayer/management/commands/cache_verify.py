import sys
from collections.abc import Iterator
from typing import Any

from cachelayer.management import tables
from cachelayer.management.terminal import DIFFERENT, CacheCommand
from cachelayer.operations.differences import fields, text
from cachelayer.operations.verify import Difference, Report, verify
from cachelayer.redis import transport


class Command(CacheCommand):
    help = "Compare every cached row with its database row. Exit with 1 on a difference."
    exit_codes = f"0: no difference. {DIFFERENT}: at least one."

    def handle(self, *args: Any, **options: Any) -> None:
        report = Report()
        with self.progress() as progress:
            [keys] = transport.round_trip(("DBSIZE",))
            task = progress.add_task("Comparing", total=keys)
            for report in self.batches(verify()):
                progress.update(task, completed=report.compared)
        if options["json"]:
            self._write_report(report)
        else:
            self._write_table(report)
        if report.differing:
            sys.exit(DIFFERENT)

    def _write_report(self, report: Report) -> None:
        differences = [
            {"key": found.key, "cached": text(found.cached), "row": text(found.row)}
            for found in report.differences
        ]
        self.write_json(
            {
                "compared": report.compared,
                "differing": report.differing,
                "differences": differences,
            }
        )

    def _write_table(self, report: Report) -> None:
        if report.differences:
            rows = [
                (found.key, *cells)
                for found in report.differences
                for cells in _differing_fields(found)
            ]
            tables.write(self.stdout, ("key", "field", "cached", "database"), rows, lines=True)
        unlisted = report.differing - len(report.differences)
        self.stdout.write(
            f"Compared {report.compared} cached rows: {report.differing} differences"
            + (f", {unlisted} of them not listed." if unlisted else ".")
        )


def _differing_fields(found: Difference) -> Iterator[tuple[str, str, str]]:
    """(field, cached, database) of each field that differs; the whole row if no field does."""
    differing = [field for field in fields(found.cached, found.row) if field.differs]
    for field in differing:
        yield field.name, field.cached, field.row
    if not differing:
        yield "", text(found.cached), text(found.row)
