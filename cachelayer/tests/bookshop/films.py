"""Links of every kind: plain, through a model of the project's own, and to the same table."""

from django.db import models


class Film(models.Model):
    title = models.CharField(max_length=100)
    tags = models.ManyToManyField("bookshop.Tag")
    cast = models.ManyToManyField("bookshop.Author", through="Role")
    sequels = models.ManyToManyField("self", symmetrical=False, related_name="prequels")
    alike = models.ManyToManyField("self")


class Role(models.Model):
    film = models.ForeignKey(Film, on_delete=models.CASCADE)
    author = models.ForeignKey("bookshop.Author", on_delete=models.CASCADE)
    part = models.CharField(max_length=50, default="")
