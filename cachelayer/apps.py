from django.apps import AppConfig, apps


class CachelayerConfig(AppConfig):
    name = "cachelayer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They register the system checks, and a clock with every connection.
        from cachelayer import checks, write_clock  # noqa: F401

        if apps.is_installed("drf_spectacular"):
            from cachelayer import schema  # noqa: F401  (registers what it documents)
