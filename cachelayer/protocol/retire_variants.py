"""Retires variants that no release uses any more, because each costs every write one key.

This takes three steps, so that no row outlives its variant's entry; no writer would mark it.

1. The entry becomes ``closing`` with a token. Writers still mark; readers do not fill.
2. The rows and leases of the variant are deleted.
3. The entry is deleted, if it is still closing with that token.

The argument needs no clock. If a process of that release comes back, in any step, it finds
nothing, and its lease enters the variant again. Then the remaining steps refuse.
"""

import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import scan
from cachelayer.redis import (
    epoch,
    incarnation,
    keyspace,
    scripts,
    shard_epochs,
    shards,
    transport,
    variants,
)
from cachelayer.redis.batches import batched

#: A hash: when a process last reported each variant as in use (Unix time).
_SEEN: Final = "cachelayer:variants:seen"
#: Seconds between two reports of a process.
_INTERVAL: Final = 60.0

_retire = scripts.load("retire", "own_incarnation")
_next_word = 0.0


def retire_unused() -> None:
    """Report the variants that this process uses, and retire those that have long been unused.

    Does so at most once a minute. Never raises.
    """
    global _next_word
    if (now := time.monotonic()) >= _next_word:
        _next_word = now + _INTERVAL
        with suppress(CacheUnavailable):
            _say()
            for variant in _unused():
                retire(variant)


def _say() -> None:
    for prefix, shape in variants.own().items():
        field = f"{prefix}~{shape}"
        transport.round_trip(("HSET", keyspace.of(_SEEN), field, round(time.time())))


def _unused() -> list[str]:
    hashes = [("HGETALL", key) for key in keyspace.of_every_shard(variants.KEY)]
    *found, seen = map(_as_dict, transport.round_trip(*hashes, ("HGETALL", keyspace.of(_SEEN))))
    entered = {name: state for each in found for name, state in each.items()}
    since = time.time() - conf.get().VARIANT_LIFETIME
    for variant in entered.keys() - seen.keys():  # It is new.
        transport.round_trip(("HSET", keyspace.of(_SEEN), variant, round(time.time())))
    return [variant.decode() for variant in entered if float(seen.get(variant, since)) < since]


def _as_dict(answer: Any) -> dict[bytes, bytes]:
    """RESP 3 answers with a dictionary, RESP 2 with a list."""
    if isinstance(answer, dict):
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))


def retire(variant: str) -> bool:
    """Retire *variant*; False if it is in use again. Raises ``CacheUnavailable``."""
    if shards.are_used():
        # Each shard has its own entries; a shard that cannot be used now keeps its own.
        gone = [_retire_in(variant, shard) for shard in range(shards.COUNT)]
        is_gone = all(gone)
    else:
        is_gone = _retire_in(variant, None)
    if is_gone:
        # If it is entered again it is new, so no report of its use exists yet.
        transport.round_trip(("HDEL", keyspace.of(_SEEN), variant))
    return is_gone


def _retire_in(variant: str, shard: int | None) -> bool:
    closing = f"closing {secrets.token_hex(8)}"
    current = epoch.known() if shard is None else shard_epochs.known(shard)
    [entries] = keyspace.all_of([variants.KEY], shard)
    if shard is not None and not transport.round_trip(("HGETALL", entries))[0]:
        return True
    transport.round_trip(("HSET", entries, variant, closing))

    def step(keys: Iterable[str], last: int) -> bool:
        command = _retire(
            [*keys, variants.KEY, incarnation.KEY],
            variant,
            closing,
            f" trusted {current}",
            last,
            shard=shard,
        )
        return bool(transport.round_trip(command)[0] != -1)

    found = scan.variant_keys(variant)
    if shard is not None:
        found = (key for key in found if shards.of(key) == shard)
    return all(step(keys, 0) for keys in batched(found)) and step((), 1)
