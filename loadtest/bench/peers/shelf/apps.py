"""The app's configuration: its rows are cached where the cache layer is installed."""

from typing import Any

from django.apps import AppConfig, apps


class ShelfConfig(AppConfig):
    """As an adopter writes it, except that it asks whether there is a cache layer."""

    name = "loadtest.bench.peers.shelf"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what is cached."""
        if not apps.is_installed("cachelayer"):
            return
        from loadtest.bench.peers.shelf import stamped
        from loadtest.bench.peers.shelf.serializers import OF_MODELS

        # By its name: this package may import nothing of the project.
        cachelayer: Any = apps.get_app_config("cachelayer").module
        for model, serializer in OF_MODELS.items():
            cachelayer.register(model, serializer)
        stamped.register(cachelayer)
