from importlib.util import find_spec

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class CachelayerConfig(AppConfig):
    name = "cachelayer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These imports register the system checks and the wrappers of database connections.
        from cachelayer.checks import configuration, documents  # noqa: F401
        from cachelayer.protocol import statement_listener, write_timer  # noqa: F401
        from cachelayer.tracking import triggers

        post_migrate.connect(triggers.after_migrate, sender=self, dispatch_uid="cachelayer")
        self._listen()
        if apps.is_installed("rest_framework"):
            from cachelayer.checks import views  # noqa: F401
        if apps.is_installed("drf_spectacular"):
            from cachelayer.contrib import openapi  # noqa: F401  (registers what it documents)

    def _listen(self) -> None:
        """Connect the listeners to the protocol's events; extras only if they are installed."""
        from cachelayer.operations import live_check
        from cachelayer.telemetry import counters

        counters.listen()
        live_check.listen()
        if find_spec("prometheus_client"):
            from cachelayer.telemetry import prometheus

            prometheus.listen()
        if find_spec("opentelemetry"):
            from cachelayer.telemetry import opentelemetry

            opentelemetry.listen()
