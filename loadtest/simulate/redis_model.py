"""A Redis of the simulation: it expires and evicts by chance, as the real one does.

- An expired row still takes memory until somebody reads it, or until the active expiry finds it:
  ten times a second Redis looks at 20 rows, and again as long as more than a tenth of them are
  expired; the more of them there were lately, the sooner it begins again.
- A full Redis evicts the row that was used longest ago of those that it looks at: 5 by chance
  (``maxmemory-samples``), and up to 16 that it remembers from earlier looks. It knows the time of
  a use to the second.
"""

import random
from dataclasses import dataclass
from typing import Final

_SAMPLES: Final = 5
_POOL: Final = 16
_LOOKED_AT: Final = 20
_ACCEPTED: Final = 0.1
#: Seconds between two rounds of the active expiry, and where many rows are expired.
_INTERVAL: Final = 0.1
_SHORT_INTERVAL: Final = 0.002


@dataclass(slots=True)
class _Row:
    expires: float
    #: In whole seconds.
    used: int
    place: int


class RedisModel:
    """Holds up to *room* rows (None: all) by their numbers; *chance* chooses where Redis does."""

    def __init__(self, room: int | None, chance: random.Random) -> None:
        self._room, self._chance = room, chance
        self._rows: dict[int, _Row] = {}
        self._places: list[int] = []
        self._pool: list[tuple[int, int]] = []
        self._next_round = 0.0
        #: A moving average of the share of expired rows that rounds have found.
        self._expired = 0.0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._places)

    def read(self, number: int, now: float) -> bool:
        """Whether the row is there; it counts as used."""
        row = self._rows.get(number)
        if row is None:
            return False
        if row.expires <= now:
            self.delete(number)
            return False
        row.used = int(now)
        return True

    def store(self, number: int, expires: float, now: float) -> None:
        """As SET with PX: a new life."""
        row = self._rows.get(number)
        if row is not None:
            row.expires, row.used = expires, int(now)
            return
        while self._room is not None and len(self._places) >= self._room:
            self._evict()
        self._rows[number] = _Row(expires, int(now), len(self._places))
        self._places.append(number)

    def delete(self, number: int) -> None:
        """Delete the row if it is there."""
        row = self._rows.pop(number, None)
        if row is not None:
            last = self._places.pop()
            if last != number:
                self._places[row.place] = last
                self._rows[last].place = row.place

    def expire(self, now: float) -> None:
        """The active expiry, as often as it was due since the last call."""
        while self._next_round <= now:
            self._expire_once(self._next_round)
            is_much = self._expired > _ACCEPTED
            self._next_round += _SHORT_INTERVAL if is_much else _INTERVAL

    def _expire_once(self, now: float) -> None:
        looked_at = found = 0
        while self._places:
            seen = self._some(_LOOKED_AT)
            expired = [number for number in seen if self._rows[number].expires <= now]
            for number in expired:
                self.delete(number)
            looked_at, found = looked_at + len(seen), found + len(expired)
            if len(expired) <= _ACCEPTED * len(seen):
                break
        if looked_at:
            self._expired += 0.05 * (found / looked_at - self._expired)

    def _evict(self) -> None:
        known = {number for _, number in self._pool}
        self._pool += [(self._rows[n].used, n) for n in self._some(_SAMPLES) if n not in known]
        # The longest unused last, where it is taken. Not by number: rank says how popular it is.
        self._pool.sort(key=lambda entry: -entry[0])
        del self._pool[:-_POOL]
        while self._pool:
            number = self._pool.pop()[1]
            if number in self._rows:
                self.delete(number)
                self.evictions += 1
                return

    def _some(self, count: int) -> set[int]:
        places, choose = self._places, self._chance.random
        return {places[int(choose() * len(places))] for _ in range(count)}
