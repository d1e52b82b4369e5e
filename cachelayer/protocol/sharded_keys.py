"""The operations of ``key_states.py`` on Redis Cluster, where keys are in shards (``shards.py``).

Each script uses the keys of one shard, and its last two keys are always the shard's hash of
variants and its incarnation. While a slot moves, some of its keys are on one node and some on the
other. A script then runs only on the node that holds all its keys. So whoever can find a value can
also mark it, and whoever cannot mark makes sure that nobody finds it
(``cluster_transport.revoke``).

A value counts only with the incarnation that came with it, which must be that node's own and
trusted for the shard's epoch. A key whose shard cannot be used reads as ``AWAY``: the row comes
from Postgres, and the rows of other shards from the cache.

A document and its stamps are in different shards, so they are two round trips, the document first.
A stamp that has its value afterwards had it all the time since the document was made. So everything
that the document shows was true at the moment when the document was found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cachelayer.exceptions import BrokenConnection, CacheUnavailable, OnTheMove
from cachelayer.redis import (
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
from cachelayer.redis.scripts import Command
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.redis.shards import Part

#: What a key reads as whose shard cannot be used. It is no row, no mark and no lease.
AWAY: Final = b"!"
_DOCUMENT: Final = b"d:"
_UNTRUSTED: Final = (
    "The node was not reconciled for these keys: it has failed over, was flushed, has restarted, "
    "or has taken over their slot."
)

_get = scripts.load("get_verified", "own_incarnation")
_mark = scripts.load("mark", "own_incarnation", "variants")
_lease = scripts.load("lease", "own_incarnation")
_fill = scripts.load("fill", "fill_each")
_push = scripts.load("push", "variants", "release_one")
_release = scripts.load("release", "release_one")
_repair = scripts.load("repair", "own_incarnation", "variants")
_drop = scripts.load("drop", "variants")
_stamp = scripts.load("stamp", "own_incarnation")


def _guards(keys: Iterable[str]) -> list[str]:
    """*keys*, and the two keys that every script has last."""
    return [*keys, variants.KEY, incarnation.KEY]


def _ask(
    parts: Sequence[Part], command: Callable[[Part], Command], use: Use, *, resend: bool = True
) -> list[tuple[Part, Any]]:
    """The answer for each of *parts*; ``CacheUnavailable`` is the answer of a node that is away."""
    made = [command(part) for part in parts]
    answers = cluster_transport.round_trip(*made, use=use, resend=resend, partial=True)
    return [*zip(parts, answers, strict=True)]


def _all_or_raise(answers: Iterable[tuple[Part, Any]]) -> list[tuple[Part, Any]]:
    found = [*answers]
    for _, answer in found:
        if isinstance(answer, CacheUnavailable):
            raise answer
    return found


def _epochs() -> shard_epochs.Copy:
    try:
        return shard_epochs.current()
    except epoch.UNKNOWN as error:
        raise CacheUnavailable(f"Postgres does not tell the epochs: {error}") from error


def values(keys: Sequence[str]) -> tuple[list[bytes], str]:
    """What *keys* read as (``AWAY`` if unknown), and the number for which that was verified.

    Documents are checked: an invalid one reads as its stamps. Raises ``CacheUnavailable`` if no key
    can be read.
    """
    known = _epochs()
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
    return held, known.version  # type: ignore[return-value]


def plain(keys: Sequence[str]) -> list[bytes | None]:
    """The values of the plain *keys*, as ``values``."""
    return [*_verified(keys, _epochs()).values()]


def _verified(stored: Sequence[str], known: shard_epochs.Copy) -> dict[str, bytes | None]:
    """The values of *stored*, in that order, from trusted nodes; else ``AWAY``."""
    found: dict[str, bytes | None] = dict.fromkeys(stored, AWAY)
    for part, answer in _ask(
        shards.split(stored), lambda part: _get(_guards(part.keys), shard=part.shard), Use.READ
    ):
        if isinstance(answer, CacheUnavailable):
            continue
        *got, _, held_by = answer
        expected = known.of_shard.get(part.shard)
        if expected is None or incarnation.trusted_epoch(held_by) != expected:
            shard_gates.settle([part.shard], _UNTRUSTED)
            continue
        found |= zip(part.keys, got, strict=True)
    return found


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


def lease(
    wanted: Mapping[str, bytes | None], token: bytes, lifetime: int, marks: Mapping[str, Any]
) -> list[int]:
    """As ``key_states.lease``; 0 for keys whose shard cannot be used."""
    variant = variants.variant(next(iter(wanted)))
    known = _epochs()

    def command(part: Part) -> Command:
        keys = part.keys
        held = [wanted[key] or b"" for key in keys]
        if variant:
            held += [marks.get(key) or b"" for key in keys]
        # If no epoch is known, none in Redis is this one.
        of_shard = known.of_shard.get(part.shard, "none")
        arguments = (token, lifetime, of_shard, variant.rpartition("/")[2], len(keys), *held)
        stored = [*variants.stored(keys), *(keys if variant else [])]
        return _lease(_guards(stored), *arguments, shard=part.shard)

    found: dict[str, int] = dict.fromkeys(wanted, 0)
    for part, answer in _ask(shards.split(wanted), command, Use.READ):
        if answer == -1:
            shard_gates.settle([part.shard], _UNTRUSTED)
        elif not isinstance(answer, CacheUnavailable):
            found |= zip(part.keys, answer, strict=True)
    return shards.in_order([*wanted], found)


def fill(rows: Mapping[str, tuple[bytes, int]], token: bytes) -> list[bool]:
    """As ``key_states.fill``, with the lifetime in ms of each row."""

    def command(part: Part) -> Command:
        given = (each for key in part.keys for each in rows[key])
        return _fill(variants.stored(part.keys), token, *given, shard=part.shard)

    found: dict[str, bool] = dict.fromkeys(rows, False)
    for part, answer in _ask(shards.split(rows), command, Use.READ):
        if not isinstance(answer, CacheUnavailable):
            found |= {key: took == 1 for key, took in zip(part.keys, answer, strict=True)}
    return shards.in_order([*rows], found)


@dataclass(slots=True)
class Marked:
    """The answers to a mark of many keys."""

    #: The keys that are marked, whether or not their node is read by others.
    keys: list[str] = field(default_factory=list)
    #: Shards whose node is not the one that others read, or is not known to be.
    uncounted: list[int] = field(default_factory=list)
    #: By shard: why its keys could not be marked.
    refused: dict[int, CacheUnavailable] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether a connection broke, so that a mark may be set late."""
        return any(isinstance(error, BrokenConnection) for error in self.refused.values())


def mark(keys: Sequence[str], token: bytes, using: str, heard: str) -> Marked:
    """As ``key_states.mark``, on every node that can be reached; never raises.

    *heard* is the number that the notice of the transaction in the database *using* told.
    """
    result = Marked()

    def command(part: Part) -> Command:
        start = keyspace.start(part.shard)
        return _mark(_guards(part.keys), token, start, 1, shard=part.shard)

    try:
        answers = _ask(shards.split(keys), command, Use.WRITE, resend=False)
    except CacheUnavailable as error:
        result.refused = {shard: error for shard, _ in shards.split(keys)}
        return result
    for part, answer in answers:
        if isinstance(answer, CacheUnavailable):
            if isinstance(answer, OnTheMove):
                cluster_transport.revoke(part.shard)
            result.refused[part.shard] = answer
            continue
        result.keys += part.keys
        if not _counts(part.shard, incarnation.epoch_in(answer), using, heard):
            result.uncounted.append(part.shard)
    return result


def _counts(shard: int, found: str, using: str, heard: str) -> bool:
    try:
        return shard_epochs.counts(shard, found, using, heard)
    except epoch.UNKNOWN:
        return False


def push(rows: Mapping[str, tuple[bytes, int, str]], token: bytes) -> list[str]:
    """As ``key_states.push``, with lifetime and shape of each row; ``unsent`` if a node is away."""

    def command(part: Part) -> Command:
        given = (each for key in part.keys for each in rows[key])
        return _push(
            _guards(part.keys), token, keyspace.start(part.shard), *given, shard=part.shard
        )

    return _results(rows, _ask(shards.split(rows), command, Use.WRITE))


def release(keys: Sequence[str], token: bytes) -> list[str]:
    """As ``key_states.release``; ``unsent`` if a node is away."""
    return _results(
        keys,
        _ask(
            shards.split(keys),
            lambda part: _release(part.keys, token, shard=part.shard),
            Use.WRITE,
        ),
    )


def _results(keys: Iterable[str], answers: Iterable[tuple[Part, Any]]) -> list[str]:
    found = dict.fromkeys(keys, "unsent")
    for part, answer in answers:
        if not isinstance(answer, CacheUnavailable):
            found |= zip(part.keys, (each.decode() for each in answer), strict=True)
    return [*found.values()]


def repair(keys: Sequence[str], mark: bytes, states: Mapping[int, str]) -> set[str]:
    """As ``key_states.repair``; return the keys that could not be repaired.

    *states* has the shards that are being reconciled, each with what must follow the server's name
    in its incarnation. All others must be trusted for their epoch.
    """
    known = _epochs()

    def command(part: Part) -> Command:
        wanted = states.get(part.shard) or f"trusted {known.of_shard.get(part.shard, 'none')}"
        start = keyspace.start(part.shard)
        return _repair(_guards(part.keys), mark, f" {wanted}", start, shard=part.shard)

    failed: set[str] = set()
    for part, answer in _ask(shards.split(keys), command, Use.WRITE):
        if answer == -1 and part.shard not in states:
            shard_gates.settle([part.shard], _UNTRUSTED)
        if isinstance(answer, CacheUnavailable) or answer == -1:
            failed.update(part.keys)
    return failed


def drop(keys: Sequence[str]) -> int:
    """As ``key_states.drop``."""

    def command(part: Part) -> Command:
        return _drop([*part.keys, variants.KEY], keyspace.start(part.shard), shard=part.shard)

    answers = _ask(shards.split(keys), command, Use.WRITE)
    return sum(answer for _, answer in _all_or_raise(answers))


def note(wanted: Mapping[str, bytes], value: str, lifetime: int) -> dict[str, bytes]:
    """As ``stamps._note``; stamps whose shard is not trusted are left out.

    A document under such a stamp would be no hit before the reconcile, and its stamp be swept then.
    """
    known = _epochs()

    def command(part: Part) -> Command:
        trusted = f" trusted {known.of_shard.get(part.shard, 'none')}"
        held = [wanted[key] for key in part.keys]
        return _stamp(_guards(part.keys), value, lifetime, trusted, *held, shard=part.shard)

    found: dict[str, bytes] = {}
    for part, answer in _ask(shards.split(wanted), command, Use.WRITE):
        if answer == -1:
            shard_gates.settle([part.shard], _UNTRUSTED)
        elif not isinstance(answer, CacheUnavailable):
            found |= zip(part.keys, answer, strict=True)
    return found
