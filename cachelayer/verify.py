"""Verifying: every cached row is compared, byte by byte, with its database row.

After Meta's Polaris ("Cache made consistent", 2022), with bytes in place of
versions: their worst bug was an old payload under the newest version.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cachelayer import clear, registry, states
from cachelayer.batches import batched
from cachelayer.registry import CachedModel
from cachelayer.write import read_rows


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that holds something else than its row."""

    key: str
    cached: bytes
    row: bytes


@dataclass(slots=True)
class Report:
    """What was looked at so far. Marks and leases hold no row to compare."""

    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def verify() -> Iterator[Report]:
    """Compare everything that is cached; give the report so far after each batch.

    Safe beside live traffic. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    report = Report()
    for cached in registry.all_cached():
        for batch in batched(clear.keys([cached.prefix])):
            pks = _pks(cached, batch)
            report.compared += _compare(cached, pks, report.differences)
            yield report


def _pks(cached: CachedModel, keys: tuple[bytes, ...]) -> dict[str, Any]:
    pks = {}
    for key in keys:
        try:
            pks[key.decode()] = cached.pk(key.decode())
        except ValueError:
            continue  # Somebody else's key with the same beginning.
    return pks


def _compare(cached: CachedModel, pks: dict[str, Any], differences: list[Difference]) -> int:
    held = _held(list(pks))
    rows = read_rows(None, cached, [pks[key] for key in held])
    suspects = [key for key, value in held.items() if value != rows[pks[key]]]
    # A write between the two looks is no difference: then the key has changed
    # as well, for a mark goes on before the COMMIT that shows the new row.
    for key, value in _held(suspects).items():
        if value == held[key]:
            differences.append(Difference(key, value, rows[pks[key]]))
    return len(held)


def _held(keys: list[str]) -> dict[str, bytes]:
    """The keys that hold a row or a null, with what they hold."""
    if not keys:
        return {}
    values = dict(zip(keys, states.get(keys), strict=True))
    return {k: v for k, v in values.items() if v is not None and states.is_known(v)}
