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
from contextlib import suppress
from typing import Any, Final

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import scan
from cachelayer.redis import epoch, incarnation, keyspace, scripts, transport, variants
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
    entered, seen = map(
        _as_dict,
        transport.round_trip(
            ("HGETALL", keyspace.of(variants.KEY)), ("HGETALL", keyspace.of(_SEEN))
        ),
    )
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
    closing = f"closing {secrets.token_hex(8)}"
    reconciled = f" trusted {epoch.known()}"
    transport.round_trip(("HSET", keyspace.of(variants.KEY), variant, closing))

    def step(keys: tuple[str, ...], last: int) -> bool:
        held = [*keys, variants.KEY, incarnation.KEY]
        return bool(
            transport.round_trip(_retire(held, variant, closing, reconciled, last))[0] != -1
        )

    for keys in batched(scan.variant_keys(variant)):
        if not step(keys, 0):
            return False
    is_gone = step((), 1)
    if is_gone:
        # If it is entered again it is new, so no report of its use exists yet.
        transport.round_trip(("HDEL", keyspace.of(_SEEN), variant))
    return is_gone
