"""What is cached of each model."""

from typing import Any

from rest_framework import serializers

from loadtest.bench.peers.shelf.models import Book, Film, Person, Play


class BookSerializer(serializers.ModelSerializer[Any]):
    """A row."""

    class Meta:
        model = Book
        fields = ["id", "title", "pages", "author"]


class PersonSerializer(serializers.ModelSerializer[Any]):
    """A document with five dependencies: the films that refer to this person, by each column.

    A hit compares ten stamps: each column has one of its rows, and one of statements that write
    very many rows.
    """

    directed = serializers.IntegerField(source="films_as_director.count")
    written = serializers.IntegerField(source="films_as_writer.count")
    produced = serializers.IntegerField(source="films_as_producer.count")
    composed = serializers.IntegerField(source="films_as_composer.count")
    edited = serializers.IntegerField(source="films_as_editor.count")

    class Meta:
        model = Person
        fields = ["id", "name", "directed", "written", "produced", "composed", "edited"]


_OF_WORK = ["id", "title", "minutes", "director", "writer", "producer", "composer", "editor"]


class FilmSerializer(serializers.ModelSerializer[Any]):
    """A row that documents show."""

    class Meta:
        model = Film
        fields = _OF_WORK


class PlaySerializer(serializers.ModelSerializer[Any]):
    """The same, which no document shows."""

    class Meta:
        model = Play
        fields = _OF_WORK


OF_MODELS: dict[Any, Any] = {
    Book: BookSerializer,
    Person: PersonSerializer,
    Film: FilmSerializer,
    Play: PlaySerializer,
}
