"""The document, as the docs have it."""

from typing import Any

from rest_framework import serializers

from loadtest.bench.peers.library.models import Book


class BookSerializer(serializers.ModelSerializer[Any]):
    """A book with its author's name, its tags and the number of its reviews."""

    author = serializers.CharField(source="author.name")
    tags: Any = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)
    reviews = serializers.IntegerField(source="reviews.count")

    class Meta:
        model = Book
        fields = ["id", "title", "author", "tags", "reviews"]
