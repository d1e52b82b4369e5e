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
    return {
        "required": f"{field} is missing: it must be {form}.",
        "null": f"{must[:-1]}, not null.",
        "invalid": must,
        "blank": f"{field} is blank: it must be {form}.",
        "max_length": must,
        "nul": f"{field} contains a NUL character (\\u0000). Remove it.",
        "surrogate": f"{field} contains half of a surrogate pair. Remove it or send the pair.",
        "min_value": must,
        "max_digits": must,
        "max_decimal_places": must,
        "max_whole_digits": must,
    }


class TextField(serializers.CharField):
    """A JSON string; unlike REST framework's, no number is taken for one."""

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


# The messages stand in classes, not in arguments: a serializer makes its fields anew for
# every request, and copies their arguments deeply.
class NameField(TextField):
    default_error_messages: ClassVar = _messages(
        "name", f"a string of 1 to {NAME_LENGTH} characters"
    )


class DescriptionField(TextField):
    default_error_messages: ClassVar = _messages(
        "description", f"a string of at most {DESCRIPTION_LENGTH} characters"
    )


class PriceField(serializers.DecimalField):
    """A JSON number, in and out; exact, as ``BoundedJSONParser`` reads numbers."""

    default_error_messages: ClassVar = _messages(
        "price", "a JSON number from 0 to 99999999.99 with at most two decimals, such as 42.99"
    )

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, Decimal):
            self.fail("invalid")
        if not data.is_finite():
            self.fail("invalid")
        # A negative zero is zero to Postgres.
        return self.quantize(self.validate_precision(data)) + Decimal(0)

    def to_representation(self, value: Any) -> float:  # type: ignore[override]
        # A float holds 15 digits exactly, a price has 10.
        return float(value)


class ItemSerializer(serializers.Serializer[Item]):
    """An item as JSON: a function of the row's columns, and of nothing else.

    No ``ModelSerializer``: that looks through the model again for every write.
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
