from django.conf import settings
from django.db import models


def user():
    # Without a constraint: this app has no migrations, so its tables are made before the user's.
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="+"
    )


class Report(models.Model):
    """Somebody's, and perhaps public."""

    owner = user()
    title = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    salary = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    is_public = models.BooleanField(default=False)


class Reader(models.Model):
    """Somebody who may read another's report."""

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="readers")
    user = user()


class Upload(models.Model):
    """Shown with its URL, in which the request's host is."""

    file = models.FileField()


class Page(models.Model):
    """Shown with hyperlinks: its own and its parent's."""

    title = models.CharField(max_length=100)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)
    picture = models.FileField(blank=True)


class Loose(models.Model):
    """Nobody has registered it."""

    title = models.CharField(max_length=100)
