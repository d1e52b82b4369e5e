from django.apps import AppConfig


class CachelayerConfig(AppConfig):
    name = "cachelayer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cachelayer import checks  # noqa: F401  (registers the system checks)
