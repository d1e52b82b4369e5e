"""The app's configuration: its books are registered where the cache layer is installed."""

from typing import Any

from django.apps import AppConfig, apps


class LibraryConfig(AppConfig):
    """As an adopter writes it, except that it asks whether there is a cache layer."""

    name = "loadtest.bench.peers.library"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the books."""
        if not apps.is_installed("cachelayer"):
            return
        from loadtest.bench.peers.library.serializers import BookSerializer

        # By its name: this package may import nothing of the project.
        cachelayer: Any = apps.get_app_config("cachelayer").module
        # All that it shows is seen; named all the same, as one does who wants to be sure.
        shown = ["author", "tags", "reviews"]
        cachelayer.register(self.get_model("Book"), BookSerializer, depends_on=shown)
