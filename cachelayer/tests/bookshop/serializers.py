from rest_framework import serializers

from cachelayer.tests.bookshop.models import Audiobook, Book, Note


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


def stamp(instance):
    return {"id": instance.pk, "text": instance.text}
