from dataclasses import fields
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandParser

from cachelayer import conf
from cachelayer.checks import redis
from cachelayer.management import tables


class Command(BaseCommand):
    help = "Show every option of CACHELAYER: its value, its default and its meaning."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="Answer as one JSON object.")
        form.add_argument(
            "--markdown", action="store_true", help="Write the table of options for the docs."
        )
        form.add_argument(
            "--acl",
            action="store_true",
            help="Write the rules for ACL SETUSER that give a Redis user what the cache needs.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["markdown"]:
            self.stdout.write(markdown())
            return
        if options["acl"]:
            self.stdout.write(redis.acl())
            return
        in_force = {option.name: getattr(conf.get(), option.name) for option in _options()}
        if options["json"]:
            self.stdout.write(orjson.dumps(in_force).decode())
            return
        rows = [
            (
                option.name,
                _text(in_force[option.name]),
                _text(option.default),
                option.metadata["meaning"].replace("`", ""),
            )
            for option in _options()
        ]
        changed = [in_force[option.name] != option.default for option in _options()]
        headers = ("option", "in force", "default", "meaning")
        tables.write(self.stdout, headers, rows, is_bold=changed)


def markdown() -> str:
    """The options with their defaults, as a table for the docs."""
    rows = [
        f"| `{option.name}` | `{_text(option.default)}` | {option.metadata['meaning']} |"
        for option in _options()
    ]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def _options() -> Any:
    return fields(conf.Settings)


def _text(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
