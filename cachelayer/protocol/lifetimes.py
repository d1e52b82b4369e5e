"""How long a row may stay in Redis."""

import random
from collections.abc import Iterator, Mapping

from cachelayer import conf
from cachelayer.representation import registry
from cachelayer.representation.loading import NULL


def of(rows: Mapping[str, bytes]) -> Iterator[int]:
    """How long each of *rows*, by key, may stay, in milliseconds.

    Each row gets its own share of the jitter, so that rows that were filled together do not expire
    together.
    """
    settings = conf.get()
    longest: dict[str, float] = {}
    for key, row in rows.items():
        start = key.partition(":")[0]
        if (seconds := longest.get(start)) is None:
            cached = registry.of_prefix(start)
            seconds = longest[start] = (cached and cached.lifetime) or settings.ROW_TTL
        if row == NULL:
            yield in_ms(min(settings.NULL_TTL, seconds))
        else:
            yield in_ms(seconds * (1 - settings.ROW_TTL_JITTER * random.random()))


def in_ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
