from django.apps import AppConfig


class BookshopConfig(AppConfig):
    name = "cachelayer.tests.bookshop"
    label = "bookshop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        import cachelayer
        from cachelayer.tests.bookshop import models, serializers

        cachelayer.register(models.Note, serializers.NoteSerializer)
        cachelayer.register(models.Book, serializers.BookSerializer)
        cachelayer.register(models.Audiobook, serializers.AudiobookSerializer)
        cachelayer.register(models.Stamp, serializers.stamp)
