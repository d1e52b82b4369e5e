from django.apps import AppConfig


class ItemsConfig(AppConfig):
    name = "items"

    def ready(self) -> None:
        import cachelayer
        from items import schema  # noqa: F401  (registers what it documents)
        from items.models import Item
        from items.serializers import ItemSerializer
        from items.throttles import write_rate

        cachelayer.register(Item, ItemSerializer, pages=True)
        # A rate that nobody can read stops the start, not the first write.
        write_rate()
