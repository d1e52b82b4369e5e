from typing import Any

from rest_framework import serializers

from cachelayer.tests.bookshop.models import (
    AReplyWhoseModelHasALongNameIndeed,
    Audiobook,
    Book,
    Film,
    Note,
    Novel,
    Reply,
    Review,
    Shelf,
    Writer,
)


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text", "stars", "price", "weight", "printed", "updated"]


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = [
            "id", "title", "title_length", "author", "publisher", "tags", "pages", "stock",
            "extra", "isbn",
        ]  # fmt: skip


class AudiobookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Audiobook
        fields = ["id", "title", "title_length", "pages", "minutes"]


class FilmSerializer(serializers.ModelSerializer):
    class Meta:
        model = Film
        fields = ["id", "title", "tags", "cast", "sequels", "alike"]


class ShelfSerializer(serializers.ModelSerializer):
    class Meta:
        model = Shelf
        fields = ["code", "name", "parcels"]


class ReplySerializer(serializers.ModelSerializer):
    class Meta:
        model = Reply
        fields = ["id", "note", "shelf", "text"]


class LongNameSerializer(serializers.ModelSerializer):
    class Meta:
        model = AReplyWhoseModelHasALongNameIndeed
        fields = ["id", "text"]


class WriterSerializer(serializers.ModelSerializer):
    agency = serializers.CharField(source="agency.name", default=None)

    class Meta:
        model = Writer
        fields = ["id", "name", "agency"]


class ReviewSerializer(serializers.ModelSerializer):
    critic = serializers.CharField(source="critic.name", default=None)

    class Meta:
        model = Review
        fields = ["id", "stars", "critic"]


class NovelCardSerializer(serializers.ModelSerializer):
    class Meta:
        model = Novel
        fields = ["id", "title", "isbn"]


class NovelSerializer(serializers.ModelSerializer):
    writer = WriterSerializer()
    main_topic: Any = serializers.SlugRelatedField(slug_field="label", read_only=True)
    topics: Any = serializers.SlugRelatedField(slug_field="label", many=True, read_only=True)
    reviews = ReviewSerializer(many=True)
    review_count = serializers.IntegerField(source="reviews.count")

    class Meta:
        model = Novel
        fields = ["id", "title", "writer", "main_topic", "topics", "reviews", "review_count"]


def stamp(instance):
    return {"id": instance.pk, "text": instance.text}
