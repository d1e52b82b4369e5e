from typing import Any

from cachelayer.management.terminal import CacheCommand
from cachelayer.operations.warm import warm
from cachelayer.representation import registry


class Command(CacheCommand):
    help = "Load every row into the cache that is not cached and that no reader is loading."
    exit_codes = "0: every row is cached, or being written or loaded; else the log names it."

    def handle(self, *args: Any, **options: Any) -> None:
        report = {}
        with self.progress() as progress:
            for cached in registry.all_cached():
                total = None if progress.disable else cached.rows().count()
                task = progress.add_task(f"Warming {cached.prefix}", total=total)
                report[cached.prefix] = {"rows": 0, "filled": 0}
                for seen, filled in self.batches(warm(cached.model, cached.serializer, cached.by)):
                    progress.update(task, completed=seen)
                    report[cached.prefix] = {"rows": seen, "filled": filled}
        if options["json"]:
            self.write_json(report)
            return
        for prefix, counts in report.items():
            self.stdout.write(f"{prefix}: {counts['rows']} rows, {counts['filled']} filled.")
