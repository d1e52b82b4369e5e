from typing import Any

from cachelayer import registry
from cachelayer.terminal import CacheCommand
from cachelayer.warm import warm


class Command(CacheCommand):
    help = "Load every row that is not cached into the cache."

    def handle(self, *args: Any, **options: Any) -> None:
        report = {}
        with self.progress() as progress:
            for cached in registry.all_cached():
                task = progress.add_task(f"Warming {cached.prefix}", total=None)
                report[cached.prefix] = {"rows": 0, "filled": 0}
                for seen, filled in warm(cached.model):
                    progress.update(task, completed=seen)
                    report[cached.prefix] = {"rows": seen, "filled": filled}
        if options["json"]:
            self.write_json(report)
            return
        for prefix, counts in report.items():
            self.stdout.write(f"{prefix}: {counts['rows']} rows, {counts['filled']} filled.")
