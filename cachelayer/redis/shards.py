"""Shards: on Redis Cluster, the keys of this project are divided into ``COUNT`` parts.

A shard is one slot of the cluster: its keys begin with the shard's tag in braces (``{460}item:5``),
and Redis Cluster hashes only the tag. So the keys of a shard are always on one primary, and one
script can use them together. Each shard has its own incarnation, variants and epoch: to the
protocol, it is a Redis of its own. What moves with the slot, and what is lost with it, is lost for
this shard alone.

The shards are spread evenly over the slots: shard 0 is in the first 64 slots, shard 1 in the next
64, and so on. Their number never changes, because two processes that count differently would not
find each other's marks.
"""

from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, NamedTuple, TypeVar

from cachelayer.redis import cluster

#: How many shards there are. A cluster can use at most as many primaries.
COUNT: Final = 256
SLOTS: Final = 16384
#: How many keys one script takes, so that Redis serves others between two of them.
MOST: Final = 250
#: The shard of what belongs to no row, such as the counts.
COMMON: Final = 0

T = TypeVar("T")


class Part(NamedTuple):
    """Keys of one shard."""

    shard: int
    keys: list[str]


def are_used() -> bool:
    """Whether the keys are divided into shards, because Redis is a cluster."""
    return cluster.is_used()


def _slot(text: bytes) -> int:
    """The slot of *text* on Redis Cluster (CRC16 of XMODEM)."""
    return crc_hqx(text, 0) % SLOTS


@cache
def tags() -> tuple[str, ...]:
    """The tag of each shard: the smallest number whose slot is in the shard's range."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < COUNT:
        found.setdefault(_slot(str(number).encode()) * COUNT // SLOTS, str(number))
        number += 1
    return tuple(found[shard] for shard in range(COUNT))


@cache
def slots() -> tuple[int, ...]:
    """The slot of each shard."""
    return tuple(_slot(tag.encode()) for tag in tags())


@cache
def starts() -> tuple[str, ...]:
    """What the keys of each shard begin with."""
    return tuple(f"{{{tag}}}" for tag in tags())


@cache
def _by_start() -> dict[str, int]:
    return {start: shard for shard, start in enumerate(starts())}


def of(key: str) -> int:
    """The shard of *key* in the form of the repair log. Variants are in the shard of their row."""
    start, colon, text = key.partition(":")
    if start.endswith("cachelayer"):
        return COMMON
    return crc_hqx(f"{start.partition('~')[0]}{colon}{text}".encode(), 0) % COUNT


def of_stored(key: str) -> int:
    """The shard of *key* as it is in Redis; ``KeyError`` if it is none of ours."""
    return _by_start()[key[: key.index("}") + 1]]


def plain(key: str) -> str:
    """*key* in Redis, without the shard's tag; ``ValueError`` if it has none."""
    return key[key.index("}") + 1 :]


def split(keys: Iterable[str], most: int = MOST) -> list[Part]:
    """*keys* by shard, at most *most* in each part. Each part can be used by one script."""
    found: dict[int, list[str]] = {}
    for key in keys:
        found.setdefault(of(key), []).append(key)
    return [
        Part(shard, held[begin : begin + most])
        for shard, held in found.items()
        for begin in range(0, len(held), most)
    ]


def in_order(keys: Sequence[str], answers: dict[str, T]) -> list[T]:
    """The *answers* by key as a list in the order of *keys*."""
    return [answers[key] for key in keys]
