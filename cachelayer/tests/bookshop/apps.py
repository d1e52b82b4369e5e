from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


def keep_by_postgres(sender, using, **kwargs):
    from cachelayer.tests.bookshop.shelves import KEPT_BY_POSTGRES

    with connections[using].cursor() as cursor:
        cursor.execute(KEPT_BY_POSTGRES)


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
        cachelayer.register(models.Film, serializers.FilmSerializer)
        cachelayer.register(models.Shelf, serializers.ShelfSerializer)
        cachelayer.register(models.Reply, serializers.ReplySerializer)
        cachelayer.register(
            models.AReplyWhoseModelHasALongNameIndeed, serializers.LongNameSerializer
        )
        cachelayer.register(models.Novel, serializers.NovelSerializer, read_by=["isbn"], pages=True)
        cachelayer.register(
            models.Novel,
            serializers.NovelCardSerializer,
            read_by=["isbn"],
            pages=True,
            lifetime=60,
        )
        from cachelayer.tests.bookshop import documents  # noqa: F401  (registers them)

        post_migrate.connect(keep_by_postgres, sender=self)
