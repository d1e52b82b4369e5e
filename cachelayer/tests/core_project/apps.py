from django.apps import AppConfig


class CoreProjectConfig(AppConfig):
    assert __package__
    name = __package__
    label = "core_project"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        import cachelayer

        from .models import Book

        cachelayer.register(Book, lambda book: {"id": book.pk, "title": book.title}, depends_on=[])
