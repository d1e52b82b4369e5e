from rest_framework import serializers

from cachelayer.tests.bookshop.models import (
    AReplyWhoseModelHasALongNameIndeed,
    Audiobook,
    Book,
    Film,
    Note,
    Reply,
    Shelf,
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


def stamp(instance):
    return {"id": instance.pk, "text": instance.text}
