"""Clearing: rows, nulls and leases go, in batches; marks stay."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from cachelayer import link, registry, states
from cachelayer.batches import PIPELINE, batched


def keys(prefixes: Sequence[str] | None = None) -> Iterator[str]:
    """The keys of cached rows, of all registered models or of *prefixes*, by SCAN.

    A key that exists during the whole walk is given at least once.
    """
    if prefixes is None:
        prefixes = [cached.prefix for cached in registry.all_cached()]
    for prefix in prefixes:
        cursor = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", PIPELINE)
            [[cursor, found]] = link.round_trip(scan)
            for key in found:
                with suppress(UnicodeDecodeError):  # Then it is none of ours.
                    yield key.decode()
            if cursor in (b"0", 0):
                break


def clear_all() -> Iterator[int]:
    """Delete everything cached; give the number deleted after each batch.

    Raises ``CacheUnavailable``; what was deleted by then stays deleted.
    """
    for batch in batched(keys()):
        yield states.drop(batch)


def clear_keys(names: Sequence[str]) -> int:
    """Delete these keys; ``ValueError`` for one that belongs to no cached model."""
    for name in names:
        registry.of_key(name).pk(name)
    return sum(states.drop(batch) for batch in batched(names))
