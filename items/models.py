"""The one table of the lab."""

import uuid
from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Item(models.Model):
    """Something with a name and a price.

    The database has defaults of its own, so that a row inserted from psql needs
    no more than a name and a price.
    """

    id = models.UUIDField(
        primary_key=True,
        default=uuid.uuid4,
        db_default=models.Func(function="gen_random_uuid", output_field=models.UUIDField()),
        editable=False,
    )
    name = models.CharField(_("name"), max_length=200)
    description = models.TextField(_("description"), max_length=10_000, blank=True, db_default="")
    price = models.DecimalField(
        _("price"), max_digits=10, decimal_places=2, validators=[MinValueValidator(Decimal(0))]
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True, db_default=Now())
    updated_at = models.DateTimeField(_("updated at"), auto_now=True, db_default=Now())

    class Meta:
        db_table = "items"
        ordering = ["-created_at", "-id"]
        verbose_name = _("item")
        verbose_name_plural = _("items")
        indexes = [models.Index(fields=["-created_at", "-id"], name="items_newest_first")]
        constraints = [
            # The upper bound keeps out NaN, which Postgres takes for the largest number.
            models.CheckConstraint(
                condition=models.Q(price__gte=0, price__lt=100_000_000),
                name="items_price_in_range",
            )
        ]

    def __str__(self) -> str:
        return self.name
