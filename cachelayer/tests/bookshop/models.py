import uuid

from django.db import models
from django.db.models.functions import Length


class Author(models.Model):
    name = models.CharField(max_length=50)


class Publisher(models.Model):
    name = models.CharField(max_length=50)


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Note(models.Model):
    """Plain columns: an instance saved in full is the row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    text = models.TextField(default="")
    stars = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    weight = models.FloatField(null=True)
    printed = models.DateTimeField(null=True)
    updated = models.DateTimeField(auto_now=True)


class SignedNote(Note):
    class Meta:
        proxy = True


class Book(models.Model):
    """An integer key, two foreign keys, and columns that the database decides."""

    title = models.CharField(max_length=100)
    title_length = models.GeneratedField(
        expression=Length("title"), output_field=models.IntegerField(), db_persist=True
    )
    author = models.ForeignKey(Author, null=True, on_delete=models.SET_NULL)
    publisher = models.ForeignKey(Publisher, null=True, on_delete=models.CASCADE)
    tags = models.ManyToManyField(Tag)
    pages = models.PositiveIntegerField(default=0)
    stock = models.IntegerField(db_default=7)
    extra = models.JSONField(default=dict)
    isbn = models.CharField(max_length=20, unique=True, null=True)


class Audiobook(Book):
    minutes = models.IntegerField(default=0)


class Stamp(models.Model):
    """A table whose trigger (see the test) changes what is written."""

    text = models.TextField()


# Django looks for models here.
from cachelayer.tests.bookshop.films import Film, Role  # noqa: E402
from cachelayer.tests.bookshop.novels import (  # noqa: E402
    Agency,
    Novel,
    Person,
    Review,
    Topic,
    Writer,
)
from cachelayer.tests.bookshop.shelves import (  # noqa: E402
    AReplyWhoseModelHasALongNameIndeed,
    Parcel,
    Reply,
    Shelf,
)

__all__ = [
    "AReplyWhoseModelHasALongNameIndeed",
    "Agency",
    "Audiobook",
    "Author",
    "Book",
    "Film",
    "Note",
    "Novel",
    "Parcel",
    "Person",
    "Publisher",
    "Reply",
    "Review",
    "Role",
    "Shelf",
    "SignedNote",
    "Stamp",
    "Tag",
    "Topic",
    "Writer",
]
