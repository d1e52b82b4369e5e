"""The writes of ``key_states.py`` on Redis Cluster, where keys are in shards (``shards.py``).

Each script uses the keys of one shard, and its last two keys are always the shard's hash of
variants and its incarnation. While a slot moves, some of its keys are on one node and some on the
other. A script then runs only on the node that holds all its keys. So whoever can find a value can
also mark it, and whoever cannot mark makes sure that nobody finds it
(``cluster_transport.revoke``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachelayer.exceptions import BrokenConnection, CacheUnavailable, OnTheMove
from cachelayer.protocol.sharded_reads import UNTRUSTED, ask_parts, epochs, guards
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

_mark = scripts.load("mark", "own_incarnation", "variants")
_lease = scripts.load("lease", "own_incarnation")
_fill = scripts.load("fill", "fill_each")
_push = scripts.load("push", "variants", "release_one")
_release = scripts.load("release", "release_one")
_repair = scripts.load("repair", "own_incarnation", "variants")
_drop = scripts.load("drop", "variants")
_stamp = scripts.load("stamp", "own_incarnation")


def _all_or_raise(answers: Iterable[tuple[Part, Any]]) -> list[tuple[Part, Any]]:
    found = [*answers]
    for _, answer in found:
        if isinstance(answer, CacheUnavailable):
            raise answer
    return found


def lease(
    wanted: Mapping[str, bytes | None], token: bytes, lifetime: int, marks: Mapping[str, Any]
) -> list[int]:
    """As ``key_states.lease``; 0 for keys whose shard cannot be used.

    Raises ``CacheUnavailable`` if no node can be asked.
    """
    variant = variants.variant(next(iter(wanted)))
    known = epochs()

    def command(part: Part) -> Command:
        keys = part.keys
        held = [wanted[key] or b"" for key in keys]
        if variant:
            held += [marks.get(key) or b"" for key in keys]
        # If no epoch is known, none in Redis is this one.
        of_shard = known.of_shard.get(part.shard, "none")
        arguments = (token, lifetime, of_shard, variant.rpartition("/")[2], len(keys), *held)
        stored = [*variants.stored(keys), *(keys if variant else [])]
        return _lease(guards(stored), *arguments, shard=part.shard)

    found: dict[str, int] = dict.fromkeys(wanted, 0)
    answers = ask_parts(shards.split(wanted), command, Use.READ)
    refused = [answer for _, answer in answers if isinstance(answer, CacheUnavailable)]
    if len(refused) == len(answers):
        raise refused[0]
    for part, answer in answers:
        if answer == -1:
            shard_gates.settle([part.shard], UNTRUSTED)
        elif not isinstance(answer, CacheUnavailable):
            found |= zip(part.keys, answer, strict=True)
    return shards.in_order([*wanted], found)


def fill(rows: Mapping[str, tuple[bytes, int]], token: bytes) -> list[bool]:
    """As ``key_states.fill``, with the lifetime in ms of each row."""

    def command(part: Part) -> Command:
        given = (each for key in part.keys for each in rows[key])
        return _fill(variants.stored(part.keys), token, *given, shard=part.shard)

    found: dict[str, bool] = dict.fromkeys(rows, False)
    for part, answer in ask_parts(shards.split(rows), command, Use.READ):
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
        return _mark(guards(part.keys), token, start, 1, shard=part.shard)

    try:
        answers = ask_parts(shards.split(keys), command, Use.WRITE, resend=False)
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
        return _push(guards(part.keys), token, keyspace.start(part.shard), *given, shard=part.shard)

    return _results(rows, ask_parts(shards.split(rows), command, Use.WRITE))


def release(keys: Sequence[str], token: bytes) -> list[str]:
    """As ``key_states.release``; ``unsent`` if a node is away."""
    return _results(
        keys,
        ask_parts(
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
    known = epochs()

    def command(part: Part) -> Command:
        wanted = states.get(part.shard) or f"trusted {known.of_shard.get(part.shard, 'none')}"
        start = keyspace.start(part.shard)
        return _repair(guards(part.keys), mark, f" {wanted}", start, shard=part.shard)

    failed: set[str] = set()
    for part, answer in ask_parts(shards.split(keys), command, Use.WRITE):
        if answer == -1 and part.shard not in states:
            shard_gates.settle([part.shard], UNTRUSTED)
        if isinstance(answer, CacheUnavailable) or answer == -1:
            failed.update(part.keys)
    return failed


def drop(keys: Sequence[str]) -> int:
    """As ``key_states.drop``."""

    def command(part: Part) -> Command:
        return _drop([*part.keys, variants.KEY], keyspace.start(part.shard), shard=part.shard)

    answers = ask_parts(shards.split(keys), command, Use.WRITE)
    return sum(answer for _, answer in _all_or_raise(answers))


def note(wanted: Mapping[str, bytes], value: str, lifetime: int) -> dict[str, bytes]:
    """As ``stamps._note``; stamps whose shard is not trusted are left out.

    A document under such a stamp would be no hit before the reconcile, and its stamp be swept then.
    """
    known = epochs()

    def command(part: Part) -> Command:
        trusted = f" trusted {known.of_shard.get(part.shard, 'none')}"
        held = [wanted[key] for key in part.keys]
        return _stamp(guards(part.keys), value, lifetime, trusted, *held, shard=part.shard)

    found: dict[str, bytes] = {}
    for part, answer in ask_parts(shards.split(wanted), command, Use.WRITE):
        if answer == -1:
            shard_gates.settle([part.shard], UNTRUSTED)
        elif not isinstance(answer, CacheUnavailable):
            found |= zip(part.keys, answer, strict=True)
    return found
