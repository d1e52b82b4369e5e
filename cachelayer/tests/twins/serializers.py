from typing import Any

from rest_framework import serializers

from cachelayer.tests.twins.models import Loose, Page, Report, Upload


class ReportSerializer(serializers.ModelSerializer):
    class Meta:
        model = Report
        fields = ["id", "owner", "title", "slug", "salary", "is_public"]
        read_only_fields = ["owner"]


class ReadReportSerializer(serializers.ModelSerializer):
    """It shows rows of another table."""

    readers: Any = serializers.SlugRelatedField(many=True, read_only=True, slug_field="user_id")

    class Meta:
        model = Report
        fields = ["id", "title", "readers"]


class ShortReportSerializer(serializers.ModelSerializer):
    class Meta:
        model = Report
        fields = ["id", "title"]


class GreetingSerializer(ReportSerializer):
    """What it shows depends on who asks."""

    def to_representation(self, instance):
        return {**super().to_representation(instance), "for": str(self.context["request"].user)}


class UploadSerializer(serializers.ModelSerializer):
    class Meta:
        model = Upload
        fields = ["id", "file"]


class PageSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Page
        fields = ["url", "title", "parent", "picture"]
        extra_kwargs = {
            "url": {"view_name": "pages-detail"},
            "parent": {"view_name": "pages-detail"},
        }


class LooseSerializer(serializers.ModelSerializer):
    class Meta:
        model = Loose
        fields = ["id", "title"]
