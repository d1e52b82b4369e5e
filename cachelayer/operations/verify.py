"""Verifying: compares every cached row, byte by byte, with its database row.

This follows Meta's Polaris ("Cache made consistent", 2022), but compares bytes instead of versions,
because their worst bug was an old payload under the newest version.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from cachelayer.protocol import key_states, scan
from cachelayer.redis import variants
from cachelayer.redis.batches import batched, patiently
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.representation.registry import Cached

#: How many differences a report lists. After a change of a serializer, every row may differ.
LISTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose value differs from its database row."""

    key: str
    cached: bytes
    row: bytes


@dataclass(slots=True)
class Report:
    """The result so far. Marks and leases hold no row to compare."""

    compared: int = 0
    differing: int = 0
    #: The first ``LISTED`` differences.
    differences: list[Difference] = field(default_factory=list)


def verify() -> Iterator[Report]:
    """Compare everything that is cached; yield the report so far after each batch.

    Safe beside live traffic. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    report = Report()
    for cached in registry.every():
        for batch in batched(scan.keys([cached.start])):
            compared, found = patiently(partial(compare, cached), batch)
            report.compared += compared
            report.differing += len(found)
            report.differences += found[: LISTED - len(report.differences)]
            yield report


def compare(cached: Cached, keys: Iterable[str]) -> tuple[int, list[Difference]]:
    """How many of *keys* hold a row, and the differences from Postgres.

    Safe beside live traffic. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    pks = _pks(cached, keys)
    compared, found = _compare(cached, pks)
    if found:
        # Compare once more, because two writes may have restored the old bytes.
        again = {difference.key: difference for difference in found}
        _, found = _compare(cached, {key: pks[key] for key in again})
        found = [found for found in found if found.cached == again[found.key].cached]
    return compared, found


def _pks(cached: Cached, keys: Iterable[str]) -> dict[str, Any]:
    pks = {}
    for key in keys:
        # Keys of other programs may begin like ours; keys of other releases do.
        with suppress(ValueError):
            if [key] == variants.stored([plain := variants.plain(key)]):
                pks[plain] = cached.pk(plain)
    return pks


def _compare(cached: Cached, pks: dict[str, Any]) -> tuple[int, list[Difference]]:
    held = _held(list(pks))
    rows = read_rows(None, cached, [pks[key] for key in held])
    suspects = [key for key, value in held.items() if value != rows[pks[key]]]
    # A write between the two look-ups is not a difference. Then the key has changed, too, because
    # it is marked before the COMMIT that shows the new row.
    differences = [
        Difference(key, value, rows[pks[key]])
        for key, value in _held(suspects).items()
        if value == held[key]
    ]
    return len(held), differences


def _held(keys: list[str]) -> dict[str, bytes]:
    """The values of the keys that hold a row or a null."""
    if not keys:
        return {}
    values = dict(zip(keys, key_states.get(keys), strict=True))
    return {k: v for k, v in values.items() if v is not None and key_states.is_known(v)}
