import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cachelayer.terminal import CacheCommand
from cachelayer.verify import Report, verify


class Command(CacheCommand):
    help = "Compare every cached row with its database row; exit 1 on a difference."

    def handle(self, *args: Any, **options: Any) -> None:
        report = Report()
        with self.progress() as progress:
            task = progress.add_task("Comparing", total=None)
            for report in verify():
                progress.update(task, completed=report.compared)
        if options["json"]:
            self._write_report(report)
        else:
            self._write_table(report)
        if report.differences:
            sys.exit(1)

    def _write_report(self, report: Report) -> None:
        differences = [
            {"key": found.key, "cached": found.cached.decode(), "row": found.row.decode()}
            for found in report.differences
        ]
        self.write_json({"compared": report.compared, "differences": differences})

    def _write_table(self, report: Report) -> None:
        if report.differences:
            table = Table("key", "cached", "database")
            for found in report.differences:
                table.add_row(found.key, Text(found.cached.decode()), Text(found.row.decode()))
            with Console(file=self.stdout) as console:  # type: ignore[arg-type]
                console.print(table)
        self.stdout.write(
            f"Compared {report.compared} cached rows: {len(report.differences)} differences."
        )
