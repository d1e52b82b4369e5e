"""Books with an author, tags and reviews."""

from typing import ClassVar

from django.db import models


class Author(models.Model):
    """Whom books show by name."""

    name = models.CharField(max_length=50)

    objects: "ClassVar[models.Manager[Author]]" = models.Manager()

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    """What many books show."""

    name = models.CharField(max_length=50)

    objects: "ClassVar[models.Manager[Tag]]" = models.Manager()

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """The row that a document is of."""

    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    tags: "models.ManyToManyField[Tag, models.Model]" = models.ManyToManyField(Tag)

    objects: "ClassVar[models.Manager[Book]]" = models.Manager()

    def __str__(self) -> str:
        return self.title


class Review(models.Model):
    """What a book shows the number of."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    text = models.CharField(max_length=200)

    objects: "ClassVar[models.Manager[Review]]" = models.Manager()

    def __str__(self) -> str:
        return self.text
