"""``manage.py load_samples``"""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand
from django.db import transaction

from items.models import Item

_SAMPLES = [
    ("Espresso machine", "Two boilers, one group, a rotary pump.", "1249.00"),
    ("Coffee grinder", "Flat burrs of 64 mm.", "399.50"),
    ("Kettle", "Gooseneck, with a thermometer.", "89.95"),
    ("Scale", "Weighs to a tenth of a gram, with a timer.", "42.99"),
    ("Coffee beans", "Washed, from Huehuetenango; 250 g.", "12.50"),
]


class Command(BaseCommand):
    help = "Create the five sample items, those that are missing; others are left as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        created = 0
        with transaction.atomic():
            # The last is created first, so that a list shows them in order.
            for number, (name, description, price) in reversed(list(enumerate(_SAMPLES, 1))):
                _, new = Item.objects.get_or_create(
                    id=UUID(f"550e8400-e29b-41d4-a716-44665544{number:04}"),
                    defaults={"name": name, "description": description, "price": Decimal(price)},
                )
                created += new
        present = len(_SAMPLES) - created
        self.stdout.write(f"Sample items: {created} created, {present} there already.")
