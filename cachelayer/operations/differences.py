"""Where a cached row and its database row differ, field by field, for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field of both rows, as JSON; empty if a row does not have it."""

    name: str
    cached: str
    row: str

    @property
    def differs(self) -> bool:
        return self.cached != self.row


def fields(cached: bytes, row: bytes) -> Sequence[Field]:
    """Every field of both rows; none if one of them is not a JSON object."""
    left, right = _parse(cached), _parse(row)
    if not left or not right:
        return []
    return [Field(name, left.get(name, ""), right.get(name, "")) for name in left | right]


def text(value: bytes) -> str:
    """*value* as text for people, whatever bytes it has."""
    return value.decode(errors="backslashreplace")


def _parse(value: bytes) -> dict[str, str]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: json.dumps(field, ensure_ascii=False) for name, field in found.items()}
