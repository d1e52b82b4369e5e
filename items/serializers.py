"""The JSON of an item, and what is accepted as one."""

from rest_framework import serializers

from items.models import Item


class ItemSerializer(serializers.ModelSerializer[Item]):
    class Meta:
        model = Item
        fields = ["id", "name", "description", "price", "created_at", "updated_at"]
