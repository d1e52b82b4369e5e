from django.apps import AppConfig


class ItemsConfig(AppConfig):
    name = "items"

    def ready(self) -> None:
        import cachelayer
        from items.models import Item
        from items.serializers import ItemSerializer

        cachelayer.register(Item, ItemSerializer, pages=True)
