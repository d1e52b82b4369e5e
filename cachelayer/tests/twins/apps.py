from django.apps import AppConfig


class TwinsConfig(AppConfig):
    name = "cachelayer.tests.twins"
    label = "twins"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        import cachelayer
        from cachelayer.tests.twins import models, serializers

        cachelayer.register(
            models.Report, serializers.ReportSerializer, read_by=["slug"], pages=True
        )
        cachelayer.register(models.Report, serializers.ReadReportSerializer, pages=True)
        cachelayer.register(models.Upload, serializers.UploadSerializer)
        cachelayer.register(models.Page, serializers.PageSerializer)
