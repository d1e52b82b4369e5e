"""Inspects one key: its state in Redis and its row in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import DatabaseError, InterfaceError, models

from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import differences
from cachelayer.protocol import key_states, key_values, stamps, takeover
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.representation.registry import Cached

#: If the key changes between the two look-ups because it is being written, both are repeated.
_TRIES: Final = 3


@dataclass(slots=True)
class Inspection:
    """What was found. Times are in seconds. None: unknown, or does not apply."""

    cached: Cached
    pk: Any
    key: str
    #: absent, row, null, mark, lease, invalid or foreign; None while Redis is away.
    state: str | None = None
    #: For an invalid document, the stamps that have changed or are being written.
    changed: Sequence[stamps.Changed] = ()
    value: bytes | None = None
    #: Seconds until the key expires.
    ttl: float | None = None
    #: For marks, whether one of their transactions is still running.
    is_writing: bool | None = None
    #: Why Redis or Postgres did not answer.
    redis_error: str = ""
    postgres_error: str = ""
    #: The database row in its cached form; ``null`` if there is none.
    row: bytes | None = None
    fields: Sequence[differences.Field] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``same``, ``differs``, ``nothing`` (no row is cached) or ``unknown``."""
        if self.state is None or self.row is None:
            return "unknown"
        if not key_values.is_known(self.value):
            return "nothing"
        return "same" if self.value == self.row else "differs"


def inspect(model: type[models.Model], pk: Any) -> Inspection:
    """Inspect the row *pk* of *model*; ``ValidationError`` if *pk* has the wrong form."""
    cached = registry.get(model)
    pk = cached.to_python(pk)
    return _inspect(cached, pk)


def inspect_text(key: str) -> Inspection:
    """Inspect *key*; ``ValueError`` says why it does not belong to a cached model."""
    cached = registry.of_key(key)
    return _inspect(cached, cached.pk(key))


def parse(prefix: str, text: str) -> str:
    """The key for *text* that a person typed: a key, or an id of the model with *prefix*."""
    text = text.strip()
    if not text:
        raise ValueError("Give an id or a key.")
    for cached in registry.every():
        if text.startswith(f"{cached.start}:"):
            return text
    for cached in registry.every():
        if cached.prefix == prefix:
            try:
                return cached.key(cached.to_python(text))
            except ValidationError as error:
                raise ValueError(f"{text!r} is not an id of a {cached.prefix}.") from error
    raise ValueError(f"No model is cached under {prefix!r}.")


def _inspect(cached: Cached, pk: Any) -> Inspection:
    for _ in range(_TRIES):
        found = Inspection(cached, pk, cached.key(pk))
        _ask_redis(found)
        _ask_postgres(found)
        # A write between the two look-ups is not a difference. Then the key has changed, too.
        if found.verdict != "differs" or _still_holds(found):
            break
    if found.value is not None and found.row is not None:
        found.fields = differences.fields(found.value, found.row)
    return found


def _ask_redis(found: Inspection) -> None:
    try:
        found.value, found.ttl = key_states.peek(found.key)
        found.changed = stamps.changed(found.value)
    except CacheUnavailable as error:
        found.redis_error = str(error)
        return
    found.state = key_values.name(found.value)


def _ask_postgres(found: Inspection) -> None:
    try:
        if key_values.is_mark(found.value):
            found.is_writing = not takeover.have_ended(found.cached.database, found.value)
        found.row = read_rows(None, found.cached, [found.pk])[found.pk]
    except (DatabaseError, InterfaceError) as error:
        found.postgres_error = str(error).strip()


def _still_holds(found: Inspection) -> bool:
    try:
        [value] = key_states.get([found.key])
    except CacheUnavailable:
        return True
    return bool(value == found.value)
