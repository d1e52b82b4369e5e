from importlib.util import find_spec

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class CachelayerConfig(AppConfig):
    name = "cachelayer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They register the system checks, and what every connection to the database gets.
        from cachelayer import checks, checks_documents, listener, triggers, write_clock  # noqa: F401

        post_migrate.connect(triggers.after_migrate, sender=self, dispatch_uid="cachelayer")
        self._listen()
        if apps.is_installed("rest_framework"):
            from cachelayer import checks_views  # noqa: F401
        if apps.is_installed("drf_spectacular"):
            from cachelayer import schema  # noqa: F401  (registers what it documents)

    def _listen(self) -> None:
        """Connect what listens to the protocol; of the extras, what is installed."""
        from cachelayer import counters, livecheck

        counters.listen()
        livecheck.listen()
        if find_spec("prometheus_client"):
            from cachelayer import metrics

            metrics.listen()
        if find_spec("opentelemetry"):
            from cachelayer import spans

            spans.listen()
