"""The operations on keys, whose values are in ``key_values.py``: the protocol's vocabulary.

Leases come from Facebook's memcache (Nishtala et al., NSDI 2013), the mark before COMMIT from
Hibernate's soft lock and python-ndb's write lock, and the comparison of owners in ``push`` from
rockscache. Every function here makes one round trip, and raises ``CacheUnavailable`` if Redis
does not answer.
"""

from collections.abc import Coroutine, Mapping, Sequence
from enum import IntEnum
from functools import partial
from itertools import chain
from typing import Any, Final

from cachelayer import conf, events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_values, lifetimes, sharded_keys, sharded_reads
from cachelayer.redis import (
    epoch,
    incarnation,
    keyspace,
    loop_transport,
    many_keys,
    scripts,
    shards,
    transport,
    variants,
)
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import Use, gate
from cachelayer.redis.scripts import Command
from cachelayer.representation import registry

_mark = scripts.load("mark", "own_incarnation", "variants")
_get_verified = scripts.load("get_verified", "own_incarnation")
_document = scripts.load("document", "own_incarnation", "checked")
_lease = scripts.load("lease", "own_incarnation")
_repair = scripts.load("repair", "own_incarnation", "variants")
_fill = scripts.load("fill", "fill_each")
_confirm = scripts.load("confirm", "own_incarnation", "checked", "fill_each")
_push = scripts.load("push", "variants", "release_one")
_release = scripts.load("release", "release_one")
_drop = scripts.load("drop", "variants")


class Leased(IntEnum):
    """The result of an attempt to lease a key."""

    HELD = 0
    TAKEN = 1
    #: The plain key has a writer's mark, so the row of this release's key may be committing.
    MARKED = 2


_NO_MARKS: Final[Mapping[str, bytes | None]] = {}


def _of_values(values: Sequence[bytes | None]) -> dict[str, str]:
    return {"cache.state": key_values.name(values[0])} if len(values) == 1 else {}


@events.operation("get", _of_values)
def get(keys: Sequence[str]) -> list[bytes | None]:
    """The values of *keys*, all of one model, in the variant of this release."""
    if shards.are_used():
        return [*sharded_reads.values(keys)[0]] if keys else []
    if keys and registry.is_of_documents(keys[0]):
        return many_keys.ask(keys, _get_documents)
    return transport.get(keyspace.all_of(variants.stored(keys))) if keys else []


#: The value of a key, the epoch if it was asked for, and the seconds that took.
_Found = tuple[bytes | None, str, float]


def aget(key: str, *, verified: bool) -> Coroutine[Any, Any, _Found]:
    """As ``get``, or as ``get_verified``, of one key, from an event loop; and the seconds it took.

    Raises ``CacheUnavailable`` also where a thread would have to ask something first.
    """
    if not (keyspace.is_known() and variants.is_known()):
        raise loop_transport.NotConnected("This process does not know yet where its keys are.")
    found = events.interested("get", (key,))
    return _aget_announced(found, key, verified) if found else _aget(key, verified)


async def _aget_announced(found: Any, key: str, verified: bool) -> _Found:
    # What is refused here is asked by a thread, which announces it.
    if shards.are_used():
        sharded_reads.enter(key)
    else:
        loop_transport.enter()
    with events.surrounded(found) as note:
        result = await _aget(key, verified)
        note(_of_values(result[:1]))
    return result


async def _aget(key: str, verified: bool) -> _Found:
    if shards.are_used():
        return await sharded_reads.aget(key)
    if verified:
        [value, found], took = await loop_transport.run(_command_verified([key]))
        return value, incarnation.trusted_epoch(found), took
    if registry.is_of_documents(key):
        [value], took = await loop_transport.run(_get_documents([key]))
    else:
        [stored] = keyspace.all_of(variants.stored([key]))
        value, took = await loop_transport.get(stored)
    return value, "", took


def _get_documents(keys: Sequence[str]) -> Command:
    return _document([*variants.stored(keys), incarnation.KEY], keyspace.prefix(), 0)


def _command_verified(keys: Sequence[str]) -> Command:
    held = [*variants.stored(keys), incarnation.KEY]
    if registry.is_of_documents(keys[0]):
        return _document(held, keyspace.prefix(), 1)
    return _get_verified(held)


def peek(key: str) -> tuple[bytes | None, float | None]:
    """The value of *key*, as from ``get``, and its seconds until it expires.

    The gate lets it pass like a write, so it also works while Redis settles. Nothing may rely on
    the value.
    """
    is_document = registry.is_of_documents(key)
    if shards.are_used():
        value, ttl = sharded_reads.peek(key, is_document)
        return value, ttl / 1000 if ttl >= 0 else None
    [stored] = variants.stored([key])
    # A value that is not a string is not ours; GET raises an error for it.
    asked: tuple[Any, ...] = ("GET", keyspace.of(stored))
    if is_document:
        asked = _document([stored, incarnation.KEY], keyspace.prefix(), 0)
    found, ttl = transport.round_trip(asked, ("PTTL", keyspace.of(stored)))
    return found[0] if is_document else found, ttl / 1000 if ttl >= 0 else None


@events.operation("get", _of_values)
def get_plain(keys: Sequence[str]) -> list[bytes | None]:
    """The values of the plain *keys*: the marks, for a release that keeps its rows elsewhere."""
    if shards.are_used():
        return sharded_reads.plain(keys)
    return transport.get(keyspace.all_of(keys))


@events.operation("get", lambda found: _of_values(found[0]))
def get_verified(keys: Sequence[str]) -> tuple[list[bytes | None], str]:
    """The values of *keys*, and the epoch for which the answering server is trusted, or ""."""
    if shards.are_used():
        found, verified_for = sharded_reads.values(keys)
        return [*found], verified_for
    values: list[bytes | None] = []
    epochs = set()
    for part in batched(keys):
        [[*more, found]] = transport.round_trip(_command_verified(part), use=Use.READ)
        values += more
        epochs.add(incarnation.trusted_epoch(found))
    return values, epochs.pop() if len(epochs) == 1 else ""


@events.operation("lease", lambda found: {"cache.leased": found.count(Leased.TAKEN)})
def lease(
    wanted: Mapping[str, bytes | None], token: bytes, marks: Mapping[str, bytes | None] = _NO_MARKS
) -> list[Leased]:
    """Lease every key in *wanted*, all of one model, that still holds the wanted value.

    The wanted value is nothing (None), marks of transactions that have all ended, another reader's
    lease that was waited for, or a document that is not valid. The key of a variant is not leased
    while its plain key has marks other than *marks*, whose transactions must also have ended. If
    the incarnation is not trusted for the epoch of Postgres, nothing is leased and the gate
    settles.
    """
    if shards.are_used():
        lifetime = lifetimes.in_ms(conf.get().LEASE_LIFETIME)
        return [Leased(answer) for answer in sharded_keys.lease(wanted, token, lifetime, marks)]
    command = partial(_lease_command, token=token, marks=marks)
    answers = many_keys.ask([*wanted.items()], command)
    if -1 in answers:
        gate.settle("The incarnation is gone: Redis was flushed, or is being reconciled.")
        raise CacheUnavailable("Redis is not trusted.")
    results = tuple(Leased)
    return [results[answer] for answer in answers]


def _lease_command(
    wanted: Sequence[tuple[str, bytes | None]], token: bytes, marks: Mapping[str, bytes | None]
) -> Command:
    keys = [key for key, _ in wanted]
    variant = variants.variant(keys[0])
    values = [value or b"" for _, value in wanted]
    if variant:
        values += [marks.get(key) or b"" for key in keys]
    # One entry serves all tenants.
    entry = variant.rpartition("/")[2]
    lifetime = lifetimes.in_ms(conf.get().LEASE_LIFETIME)
    arguments = (token, lifetime, epoch.known(), entry, len(keys), *values)
    held = [*variants.stored(keys), *(keys if variant else [])]
    return _lease([*held, variants.KEY, incarnation.KEY], *arguments)


@events.operation("fill", lambda filled: {"cache.filled": sum(filled)})
def fill(rows: Mapping[str, bytes], token: bytes) -> list[bool]:
    """Store *rows* under the keys whose lease is still *token*; return which were stored.

    ``INVALIDATE`` in place of a row gives the lease back.
    """
    if shards.are_used():
        return sharded_keys.fill(_with_lifetimes(rows), token)
    stored = [*zip(variants.stored(rows), rows.values(), lifetimes.of(rows), strict=True)]
    return [answer == 1 for answer in many_keys.ask(stored, partial(_fill_command, token))]


def _with_lifetimes(rows: Mapping[str, bytes]) -> dict[str, tuple[bytes, int]]:
    return dict(zip(rows, zip(rows.values(), lifetimes.of(rows), strict=True), strict=True))


def _fill_command(token: bytes, stored: Sequence[tuple[str, bytes, int]]) -> Command:
    values = (value for _, row, lifetime in stored for value in (row, lifetime))
    return _fill([key for key, _, _ in stored], token, *values)


@events.operation("fill")
def confirm(rows: Mapping[str, bytes], token: bytes) -> list[bytes | None]:
    """Like ``fill``, but return what each key then reads as; None if it was not stored.

    A page reads as itself only while its stamps are unchanged. The result is also None if the
    server is not trusted for the epoch of Postgres.
    """
    if shards.are_used():
        # On a cluster these are two steps: no answer is from before the fill.
        took = dict(zip(rows, fill(rows, token), strict=True))
        found_after = dict(zip(rows, sharded_reads.values([*rows])[0], strict=True))
        return [found_after[key] if took[key] else None for key in rows]
    values = chain.from_iterable(zip(rows.values(), lifetimes.of(rows), strict=True))
    keys = [*variants.stored(rows), incarnation.KEY]
    command = _confirm(keys, keyspace.prefix(), token, *values)
    held: list[bytes | None]
    [[*held, found]] = transport.round_trip(command, use=Use.READ)
    if incarnation.trusted_epoch(found) != epoch.known():
        return [None] * len(held)
    return held


@events.operation("mark")
def mark_shards(keys: Sequence[str], token: bytes, using: str, heard: str) -> sharded_keys.Marked:
    """As ``mark`` on Redis Cluster, on every node that can be reached; never raises.

    *heard* is the epoch that the notice of the transaction in the database *using* told.
    """
    return sharded_keys.mark(keys, token, using, heard)


@events.operation("mark")
def mark(keys: Sequence[str], token: bytes) -> str:
    """Append the mark *token* to the marks of *keys*; return the server's epoch.

    The caller has written the rows and has not sent COMMIT. If the epoch is "" or not that of
    Postgres, other processes do not read from this server. Raises ``BrokenConnection`` if the
    connection broke or timed out. Then the marks may be set later than anything that is sent from
    now on, so a second attempt needs another token. With the same token, this writer's push could
    find its own late mark behind the next writer's, and store the older row.
    """
    command = _mark([*keys, variants.KEY, incarnation.KEY], token, keyspace.prefix())
    [answer] = transport.round_trip(command, resend=False)
    return incarnation.epoch_in(answer)


@events.operation("push", lambda results: {"cache.result": ", ".join(sorted(set(results)))})
def push(rows: Mapping[str, bytes], token: bytes) -> list[str]:
    """Replace the mark *token* and the marks before it with the committed row (or ``NULL``).

    Push only rows that were written under their own lock. For other rows, ``INVALIDATE`` only
    removes the mark. Returns for each key: ``pushed``, ``invalidated``, ``superseded`` (a later
    writer's mark is there) or ``lost`` (the mark was gone; the key is deleted).

    Rows come before invalidated keys, so that the maker of a page finds the rows. (In the other
    order, marks would keep it from using the rows; the model shows this.)
    """
    pushed = {key: row for key, row in rows.items() if row != key_values.INVALIDATE}
    if shards.are_used():
        shaped = {
            key: (*timed, variants.of(key.partition(":")[0]))
            for key, timed in _with_lifetimes(pushed).items()
        }
        results = sharded_keys.push(shaped, token)
        return results + sharded_keys.release([key for key in rows if key not in pushed], token)
    shapes = (variants.of(key.partition(":")[0]) for key in pushed)
    values = chain.from_iterable(zip(pushed.values(), lifetimes.of(pushed), shapes, strict=True))
    held = [*pushed, variants.KEY, incarnation.KEY]
    commands = [_push(held, token, keyspace.prefix(), *values)]
    if released := [key for key in rows if key not in pushed]:
        commands.append(_release(released, token))
    return [answer.decode() for answers in transport.round_trip(*commands) for answer in answers]


@events.operation("release", lambda results: {"cache.result": ", ".join(sorted(set(results)))})
def release(keys: Sequence[str], token: bytes) -> list[str]:
    """Remove the mark *token* from *keys*; the next reader loads the row.

    Returns for each key: ``invalidated``, ``superseded`` (marks of other writers are there) or
    ``lost`` (the mark was gone; the key is deleted).
    """
    if shards.are_used():
        return sharded_keys.release(keys, token)
    [answers] = transport.round_trip(_release([*keys], token))
    return [answer.decode() for answer in answers]


@events.operation("repair")
def repair(keys: Sequence[str], reconciled: str) -> None:
    """Remove every value of *keys* that may be older than the write that was logged for them.

    Rows, nulls and leases are deleted; behind marks, the repair adds its own mark. This is done
    only on the server whose incarnation is *reconciled*, such as ``trusted 7``. Readers and
    writers have left any other server or will leave it; there it raises ``CacheUnavailable``.
    """
    if shards.are_used():
        if repair_shards(keys, {}):
            raise CacheUnavailable("Not every node of these keys could be repaired.")
        return
    mark = key_values.new_mark(key_values.NO_TRANSACTION)
    command = _repair(
        [*keys, variants.KEY, incarnation.KEY], mark, f" {reconciled}", keyspace.prefix()
    )
    [answer] = transport.round_trip(command)
    if answer == -1:
        raise CacheUnavailable(f"This Redis is not {reconciled}, so nothing was repaired.")


@events.operation("repair")
def repair_shards(keys: Sequence[str], states: Mapping[int, str]) -> set[str]:
    """As ``repair`` on Redis Cluster; return the keys that could not be repaired.

    *states* has the shards that are being reconciled, each with its state (``settling 7``). All
    others must be trusted for their own epoch.
    """
    return sharded_keys.repair(keys, key_values.new_mark(key_values.NO_TRANSACTION), states)


@events.operation("drop", lambda deleted: {"cache.deleted": deleted})
def drop(keys: Sequence[str]) -> int:
    """Delete rows, nulls and leases, but leave marks; return how many were deleted."""
    if shards.are_used():
        return sharded_keys.drop(keys)
    deleted: int = transport.round_trip(_drop([*keys, variants.KEY], keyspace.prefix()))[0]
    return deleted
