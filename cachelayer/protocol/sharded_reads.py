"""Reads on Redis Cluster, where keys are in shards (``shards.py``).

A value counts only with the incarnation that came with it, which must be that node's own and
trusted for the shard's epoch. A key whose shard cannot be used reads as ``AWAY``: the row comes
from Postgres, and the rows of other shards from the cache.

A document and its stamps are in different shards, so they are two round trips, the document first.
A stamp that has its value afterwards had it all the time since the document was made. So everything
that the document shows was true at the moment when the document was found.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol.key_values import AWAY
from cachelayer.redis import (
    cluster_loop,
    cluster_transport,
    epoch,
    incarnation,
    keyspace,
    scripts,
    shard_epochs,
    shards,
    variants,
)
from cachelayer.redis.gate import Use
from cachelayer.redis.loop_transport import NotConnected
from cachelayer.redis.scripts import Command
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.redis.shards import Part

UNTRUSTED: Final = (
    "The node was not reconciled for these keys: it has failed over, was flushed, has restarted, "
    "or has taken over their slot."
)
_DOCUMENT: Final = b"d:"
_who = scripts.load("who")
#: Which server a node is, if it would take a mark now.
_WHO: Final[Command] = ("EVALSHA", _who.sha, 0)


def guards(keys: Iterable[str]) -> list[str]:
    """*keys*, and the two keys that every read and every script has last."""
    return [*keys, variants.KEY, incarnation.KEY]


def ask_parts(
    parts: Sequence[Part],
    command: Callable[[Part], Command],
    use: Use,
    *,
    resend: bool = True,
    behind: Command | None = None,
) -> list[tuple[Part, Any]]:
    """The answer for each of *parts*; ``CacheUnavailable`` is the answer of a node that is away.

    *behind* as for ``cluster_transport.round_trip``.
    """
    made = [command(part) for part in parts]
    answers = cluster_transport.round_trip(
        *made, use=use, resend=resend, partial=True, behind=behind
    )
    return [*zip(parts, answers, strict=True)]


def epochs() -> shard_epochs.Copy:
    try:
        return shard_epochs.current()
    except epoch.UNKNOWN as error:
        raise CacheUnavailable(f"Postgres does not tell the epochs: {error}") from error


def values(keys: Sequence[str]) -> tuple[list[bytes | None], str]:
    """What *keys* read as (``AWAY`` if unknown), and the number for which that was verified.

    Documents are checked: an invalid one reads as its stamps. Raises ``CacheUnavailable`` if no key
    can be read.
    """
    known = epochs()
    found = _verified(variants.stored(keys), known)
    heads = {key: _under(value) for key, value in found.items() if _is_document(value)}
    if heads:
        wanted = {stamp for under in heads.values() for stamp in under}
        now = _verified(sorted(wanted), known)
        for key, under in heads.items():
            value = found[key]
            assert value is not None
            found[key] = _checked(value, under, now)
    held = [*found.values()]
    if held and all(value == AWAY for value in held):
        raise CacheUnavailable("No node of the cluster that holds these keys can be used.")
    return held, known.version


def plain(keys: Sequence[str]) -> list[bytes | None]:
    """The values of the plain *keys*, as ``values``."""
    return [*_verified(keys, epochs()).values()]


def _verified(stored: Sequence[str], known: shard_epochs.Copy) -> dict[str, bytes | None]:
    """The values of *stored*, in that order, from trusted nodes; else ``AWAY``."""
    found: dict[str, bytes | None] = dict.fromkeys(stored, AWAY)
    for part, answer in ask_parts(shards.split(stored), _get_of, Use.READ, behind=_WHO):
        found |= _trusted(part, answer, known)
    return found


def _get_of(part: Part) -> Command:
    return ("MGET", *keyspace.all_of(guards(part.keys), part.shard))


def _trusted(part: Part, answer: Any, known: shard_epochs.Copy) -> dict[str, bytes | None]:
    """The values in *answer*; none if the shard is not trusted where they come from."""
    if isinstance(answer, CacheUnavailable):
        return {}
    (*got, _, held_by), who = answer
    expected = known.of_shard.get(part.shard)
    if expected is None or incarnation.trusted_by(held_by, who) != expected:
        shard_gates.settle([part.shard], UNTRUSTED)
        return {}
    return dict(zip(part.keys, got, strict=True))


def enter(key: str) -> None:
    """Raise what ``aget`` raises without having asked Redis."""
    _heldepochs()
    cluster_loop.enter(shards.of(key))


async def aget(key: str) -> tuple[bytes | None, str, float]:
    """As ``values`` for one key, from an event loop; and the seconds that took.

    Raises ``CacheUnavailable``, also where a thread would have to ask something first.
    """
    known, [stored] = _heldepochs(), variants.stored([key])
    found, took = await _averified([stored], known)
    value = found[stored]
    if _is_document(value):
        under = _under(value)
        now, more = await _averified(sorted(under), known)
        assert value is not None
        value, took = _checked(value, under, now), took + more
    if value == AWAY:
        raise CacheUnavailable("The node of the cluster that holds this key cannot be used.")
    return value, known.version, took


def _heldepochs() -> shard_epochs.Copy:
    if (known := shard_epochs.held()) is None:
        raise NotConnected("A thread must ask Postgres for the epochs first.")
    return known


async def _averified(
    stored: Sequence[str], known: shard_epochs.Copy
) -> tuple[dict[str, bytes | None], float]:
    """As ``_verified``, from an event loop, from all nodes at once; and the seconds that took."""
    parts = shards.split(stored)
    answers = await asyncio.gather(
        *(cluster_loop.run(_get_of(part), _WHO, part.shard) for part in parts),
        return_exceptions=True,
    )
    found: dict[str, bytes | None] = dict.fromkeys(stored, AWAY)
    longest = 0.0
    for part, answer in zip(parts, answers, strict=True):
        if isinstance(answer, BaseException):
            # A thread is asked again, where there is no connection yet.
            if isinstance(answer, NotConnected) or not isinstance(answer, CacheUnavailable):
                raise answer
            continue
        value, took = answer
        longest = max(longest, took)
        found |= _trusted(part, value, known)
    return found, longest


def _is_document(value: bytes | None) -> bool:
    return value is not None and value[:2] == _DOCUMENT


def _under(value: bytes | None) -> dict[str, str]:
    assert value is not None
    under: dict[str, str] = orjson.loads(value[len(_DOCUMENT) :].partition(b"\n")[0])
    return under


def _checked(
    value: bytes, under: Mapping[str, str], now: Mapping[str, bytes | None]
) -> bytes | None:
    """What a document reads as, if its stamps have the values *now*."""
    if any(now[stamp] == AWAY for stamp in under):
        return AWAY
    head, _, content = value.partition(b"\n")
    is_valid = all(now[stamp] == made.encode() for stamp, made in under.items())
    return content if is_valid else head


def peek(key: str, is_document: bool) -> tuple[bytes | None, int]:
    """The value of *key* and its lifetime in ms, for people, also while its shard settles."""
    [stored] = keyspace.all_of(variants.stored([key]))
    value, ttl = cluster_transport.round_trip(("GET", stored), ("PTTL", stored))
    if is_document and _is_document(value):
        value = _checked(value, _under(value), now(_under(value)))
    return value, int(ttl)


def now(keys: Iterable[str]) -> dict[str, bytes | None]:
    """The present values of *keys*, for people; raises ``CacheUnavailable``."""
    wanted = [*keys]
    asked = [("GET", stored) for stored in keyspace.all_of(wanted)]
    return dict(zip(wanted, cluster_transport.round_trip(*asked), strict=True))
