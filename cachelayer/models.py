"""The repair log, the outages of the strict mode, and the admin's permissions for the cache."""

from django.db import models
from django.db.models.functions import Now


class Repair(models.Model):
    """A key under which Redis may hold an old row. The writing transaction inserts it."""

    id = models.BigAutoField(primary_key=True)
    key = models.TextField()
    logged_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cachelayer_repair"
        # `flush` empties managed tables. Keys of rows that it does not empty must stay logged.
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return self.key


class Outage(models.Model):
    """A process that writes without marks. All processes can see it (``partition.py``)."""

    process = models.TextField(primary_key=True)
    until = models.DateTimeField()

    class Meta:
        db_table = "cachelayer_outage"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return self.process


class Cache(models.Model):
    """A model without a table. It carries the admin's cache page and its permissions."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("view_cache", "Can view the cache page"),
            ("operate_cache", "Can clear, warm, verify and repair the cache"),
        ]
        verbose_name = "cache"
        verbose_name_plural = "cache"

    def __str__(self) -> str:
        return "cache"
