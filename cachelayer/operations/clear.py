"""Clearing: deletes rows, nulls and leases in batches; marks stay."""

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from cachelayer.protocol import key_states, key_values, scan
from cachelayer.redis import scripts, transport
from cachelayer.redis.batches import batched
from cachelayer.representation import registry

_peek = scripts.load("peek")


@dataclass(frozen=True, slots=True)
class Count:
    """The number of keys by state. If not ``exact``, there are more, but the time was up."""

    states: Mapping[str, int]
    exact: bool

    @property
    def deletable(self) -> int:
        """How many keys a clear would delete; marks of running transactions stay."""
        return sum(self.states.get(name, 0) for name in ("row", "value", "null", "lease"))

    @property
    def marks(self) -> int:
        return self.states.get("mark", 0)


def count(prefixes: Sequence[str], seconds: float) -> Count:
    """Count the keys under *prefixes* for at most *seconds*. Raises ``CacheUnavailable``."""
    deadline = time.monotonic() + seconds
    found: Counter[str] = Counter()
    for batch in batched(scan.keys(prefixes)):
        # A scan may return a key twice.
        distinct = dict.fromkeys(batch)
        values = transport.round_trip(*[_peek([key]) for key in distinct])
        found.update(key_values.name(value or None) for value in values)
        if time.monotonic() > deadline:
            return Count(found, exact=False)
    return Count(found, exact=True)


def clear_all() -> Generator[int, None, None]:
    """Delete everything cached; yield the number deleted after each batch.

    Raises ``CacheUnavailable``; keys that were deleted by then stay deleted.
    """
    for batch in batched(scan.keys()):
        yield key_states.drop(batch)


def clear_keys(names: Sequence[str]) -> int:
    """Delete these keys; ``ValueError`` if one does not belong to a cached model."""
    for name in names:
        registry.of_key(name).pk(name)
    return sum(key_states.drop(batch) for batch in batched(names))
