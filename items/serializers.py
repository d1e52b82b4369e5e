"""The JSON of an item, and what is accepted as one.

Unknown fields of a body are ignored, and so are ``id``, ``created_at`` and
``updated_at``: a client may send back what it was given.
"""

from datetime import UTC
from decimal import Decimal
from typing import Any, ClassVar, Final

from rest_framework import serializers

from items.models import Item

NAME_LENGTH: Final = 200
DESCRIPTION_LENGTH: Final = 10_000


def _messages(field: str, form: str) -> dict[str, Any]:
    """What is said about *field*, which must be *form*; always how to set it right."""
    must = f"{field} must be {form}."
    limits = ("max_length", "max_string_length", "min_value")
    digits = ("max_digits", "max_decimal_places", "max_whole_digits")
    return {
        **dict.fromkeys(("invalid", *limits, *digits), must),
        "required": f"{field} is missing: it must be {form}.",
        "null": f"{must[:-1]}, not null.",
        "blank": f"{field} is blank: it must be {form}.",
        "nul": f"{field} contains a NUL character (\\u0000). Remove it.",
        "surrogate": f"{field} contains half of a surrogate pair. Remove it or send the pair.",
    }


class TextField(serializers.CharField):
    """A JSON string; unlike REST framework's field, it refuses numbers."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # REST framework would look at str(data) first.
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)

    def to_internal_value(self, data: str) -> str:
        if "\x00" in data:
            self.fail("nul")
        if any("\ud800" <= character <= "\udfff" for character in data):
            self.fail("surrogate")
        return str(super().to_internal_value(data))


# The messages are attributes of classes, not arguments: for every request a serializer makes
# its fields anew, with deep copies of their arguments.
class NameField(TextField):
    default_error_messages: ClassVar = _messages(
        "name", f"a string of 1 to {NAME_LENGTH} characters"
    )


class DescriptionField(TextField):
    default_error_messages: ClassVar = _messages(
        "description", f"a string of at most {DESCRIPTION_LENGTH} characters"
    )


class PriceField(serializers.DecimalField):
    """A JSON number, in and out; as exact as the parser reads numbers."""

    default_error_messages: ClassVar = _messages(
        "price", "a JSON number from 0 to 99999999.99 with at most two decimals, such as 42.99"
    )

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | float | Decimal):
            self.fail("invalid")
        # A negative zero is zero to Postgres.
        return super().to_internal_value(data) + Decimal(0)

    def to_representation(self, value: Any) -> float:  # type: ignore[override]
        # A float holds 15 digits exactly, a price has 10.
        return float(value)


class ItemSerializer(serializers.Serializer[Item]):
    """An item as JSON: a function of the row's columns, and of nothing else.

    Not a ``ModelSerializer``, which looks through the model again for every write.
    """

    id = serializers.UUIDField(read_only=True)
    name = NameField(max_length=NAME_LENGTH)
    description = DescriptionField(
        default="", allow_blank=True, trim_whitespace=False, max_length=DESCRIPTION_LENGTH
    )
    price = PriceField(max_digits=10, decimal_places=2, min_value=Decimal(0))
    # Not the time zone that happens to be active.
    created_at = serializers.DateTimeField(read_only=True, default_timezone=UTC)
    updated_at = serializers.DateTimeField(read_only=True, default_timezone=UTC)

    def create(self, validated_data: dict[str, Any]) -> Item:
        return Item.objects.create(**validated_data)

    def update(self, instance: Item, validated_data: dict[str, Any]) -> Item:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save()
        return instance
