"""The app's configuration: its books are cached where the cache layer is installed."""

from typing import Any

from django.apps import AppConfig, apps


class ShelfConfig(AppConfig):
    """As an adopter writes it, but for the question whether there is a cache layer."""

    name = "loadtest.bench.peers.shelf"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the books."""
        if not apps.is_installed("cachelayer"):
            return
        from rest_framework import serializers

        class BookSerializer(serializers.ModelSerializer[Any]):
            class Meta:
                model = self.get_model("Book")
                fields = ["id", "title", "pages", "author"]

        # By its name: this package may import nothing of the project.
        cachelayer: Any = apps.get_app_config("cachelayer").module
        cachelayer.register(self.get_model("Book"), BookSerializer)
