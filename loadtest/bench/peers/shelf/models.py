"""Authors and their books."""

from typing import ClassVar

from django.db import models


class Author(models.Model):
    """Somebody with books."""

    name = models.CharField(max_length=50)

    objects: "ClassVar[models.Manager[Author]]" = models.Manager()

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """Plain columns and a foreign key."""

    title = models.CharField(max_length=100)
    pages = models.IntegerField(default=0)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)

    objects: "ClassVar[models.Manager[Book]]" = models.Manager()

    def __str__(self) -> str:
        return self.title
