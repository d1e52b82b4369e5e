"""So that Django finds the page's templates and static files."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "itemsite.console"
    label = "console"
