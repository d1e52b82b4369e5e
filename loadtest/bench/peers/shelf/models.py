"""Authors and their books; and people, whom films and plays refer to by five columns."""

from typing import Any, ClassVar

from django.db import models

# Django finds models here.
from loadtest.bench.peers.shelf.stamped import MODELS as _STAMPED  # noqa: F401


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


class Person(models.Model):
    """Somebody who makes films and plays."""

    name = models.CharField(max_length=50)

    objects: "ClassVar[models.Manager[Person]]" = models.Manager()

    def __str__(self) -> str:
        return self.name


def _by(role: str) -> Any:
    return models.ForeignKey(Person, models.CASCADE, related_name=f"%(class)ss_as_{role}")


class _Work(models.Model):
    """The same columns for both."""

    title = models.CharField(max_length=100)
    minutes = models.IntegerField(default=0)
    director, writer, producer = _by("director"), _by("writer"), _by("producer")
    composer, editor = _by("composer"), _by("editor")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.title


class Film(_Work):
    """Documents show it, by each of its five columns."""

    objects: "ClassVar[models.Manager[Film]]" = models.Manager()


class Play(_Work):
    """Nobody else shows it."""

    objects: "ClassVar[models.Manager[Play]]" = models.Manager()
