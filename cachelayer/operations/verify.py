"""Verifying: compares every cached row, byte by byte, with its database row.

This follows Meta's Polaris ("Cache made consistent", 2022), but compares bytes instead of versions,
because their worst bug was an old payload under the newest version.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, repeat
from operator import eq
from typing import Any, Final

from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import ahead
from cachelayer.protocol import key_states, key_values, scan
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


def verify() -> Generator[Report, None, None]:
    """Compare everything that is cached; yield the report so far after each batch.

    Safe beside live traffic. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    report = Report()
    for cached in registry.every():
        with closing(_compare_all(cached)) as batches:
            for compared, found in batches:
                report.compared += compared
                report.differing += len(found)
                report.differences += found[: LISTED - len(report.differences)]
                yield report


def _compare_all(cached: Cached) -> Generator[tuple[int, list[Difference]], None, None]:
    """Compare what is cached under the keys of *cached*, as ``compare`` does, batch by batch."""
    batches = batched(scan.keys([cached.start], by=patiently))

    def look() -> tuple[dict[str, Any], dict[str, bytes] | None] | None:
        """The next keys and what they hold; of these None if Redis missed the answer."""
        if (keys := next(batches, None)) is None:
            return None
        pks = _pks(cached, keys)
        try:
            return pks, _held(list(pks))
        except CacheUnavailable:
            return pks, None

    with ahead.thread() as call:
        for looked in ahead.one_ahead(call(look) for _ in repeat(None)):
            if (found := looked.result()) is None:
                return
            pks, held = found
            compared = None
            if held is not None:
                with suppress(CacheUnavailable):
                    compared = _compare(cached, pks, held)
            yield compared or patiently(partial(compare, cached), list(pks))


def compare(cached: Cached, keys: Iterable[str]) -> tuple[int, list[Difference]]:
    """How many of *keys* hold a row, and the differences from Postgres.

    Safe beside live traffic. Raises ``CacheUnavailable`` and ``DatabaseError``.
    """
    pks = _pks(cached, keys)
    return _compare(cached, pks, _held(list(pks)))


def _compare(
    cached: Cached, pks: Mapping[str, Any], held: Mapping[str, bytes]
) -> tuple[int, list[Difference]]:
    """As ``compare``, of keys of the rows *pks*, which have *held* these values."""
    found = _differences(cached, pks, held)
    if found:
        # Compare once more, because two writes may have restored the old bytes.
        again = {difference.key: difference for difference in found}
        found = _differences(cached, pks, _held(list(again)))
        found = [found for found in found if found.cached == again[found.key].cached]
    return len(held), found


def _pks(cached: Cached, keys: Iterable[str]) -> dict[str, Any]:
    keys = list(keys)
    plain = list(map(variants.plain, keys))
    pks = {}
    # Keys of other programs may begin like ours; keys of other releases do.
    for each in compress(plain, map(eq, keys, variants.stored(plain))):
        try:
            pks[each] = cached.pk(each)
        except ValueError:
            continue
    return pks


def _differences(
    cached: Cached, pks: Mapping[str, Any], held: Mapping[str, bytes]
) -> list[Difference]:
    rows = read_rows(None, cached, [pks[key] for key in held])
    suspects = [key for key, value in held.items() if value != rows[pks[key]]]
    # A write between the two look-ups is not a difference. Then the key has changed, too, because
    # it is marked before the COMMIT that shows the new row.
    return [
        Difference(key, value, rows[pks[key]])
        for key, value in _held(suspects).items()
        if value == held[key]
    ]


def _held(keys: list[str]) -> dict[str, bytes]:
    """The values of the keys that hold a row or a null."""
    if not keys:
        return {}
    values = dict(zip(keys, key_states.get(keys), strict=True))
    if any(map(key_values.is_unavailable, values.values())):
        # Else "no difference" would be said of rows that nobody has compared.
        raise CacheUnavailable("Some nodes of the Redis Cluster cannot be used now.")
    return {k: v for k, v in values.items() if v is not None and key_values.is_known(v)}
