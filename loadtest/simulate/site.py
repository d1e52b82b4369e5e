"""The site that is simulated: how many rows, how often they are read, what its Redis has."""

from dataclasses import dataclass
from typing import Final

#: The policies under which the cache reads a Redis, of those that the formula knows.
POLICIES: Final = ("volatile-lru", "noeviction")


class WrongSite(ValueError):  # noqa: N818
    """The numbers describe no site; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Site:
    """Raises ``WrongSite``. Rates are for each second, times in seconds, memory in bytes."""

    rows: int
    reads: float
    writes: float = 0.0
    #: Row number n is read in proportion to n^-skew; 0: all alike.
    skew: float = 1.0
    #: The same for writes; the rows that are read most are also written most.
    write_skew: float = 0.0
    #: ``ROW_TTL`` and ``ROW_TTL_JITTER``.
    ttl: float = 300.0
    jitter: float = 0.1
    #: What Redis has for rows; None: more than enough.
    memory: float | None = None
    #: What a cached row takes, with its key and what Redis adds.
    row_bytes: float = 600.0
    policy: str = "volatile-lru"
    #: Whether a write stores the row; if not, the row is deleted (documents, large transactions).
    pushes: bool = True

    def __post_init__(self) -> None:
        for wrong, sentence in (
            (self.rows < 1, "A site has at least one row. Give --rows 1 or more."),
            (self.reads <= 0, "Without reads there is no hit rate. Give --reads above 0."),
            (self.writes < 0, "There are no negative writes. Give --writes 0 or more."),
            (
                not (0 <= self.skew <= 3 and 0 <= self.write_skew <= 3),
                "A skew is from 0 (all rows alike) to 3. Most sites have 0.6 to 1.1.",
            ),
            (self.ttl <= 0, "A row must live for some time. Give --ttl above 0 seconds."),
            (not 0 <= self.jitter < 1, "A jitter is a share. Give --jitter from 0 to below 1."),
            (
                self.memory is not None and self.memory <= 0,
                "Redis needs memory. Give --memory above 0, or leave it out for no limit.",
            ),
            (self.row_bytes <= 0, "A row takes memory. Give --row-bytes above 0."),
            (self.policy not in POLICIES, _policy_sentence(self.policy)),
        ):
            if wrong:
                raise WrongSite(sentence)

    @property
    def room(self) -> float | None:
        """How many rows fit into memory; None: all."""
        return None if self.memory is None else self.memory / self.row_bytes

    @property
    def shortest_life(self) -> float:
        """The TTL of the row whose jitter is largest."""
        return self.ttl * (1 - self.jitter)


def _policy_sentence(policy: str) -> str:
    if policy.startswith("allkeys-"):
        return (
            f"Under {policy} Redis may evict marks, so the cache does not read it. "
            "Choose volatile-lru."
        )
    return f"{policy!r} is not simulated. Choose one of {', '.join(POLICIES)}."
