"""One key, four states, six operations: the protocol's vocabulary.

A key holds a plain string, told apart by its first byte:

    absent        nobody knows
    ``{...}``     row: the JSON bytes that the API answers
    ``null``      known absent: there is no such row
    ``w:<token>:<xid> …`` marks, oldest first: each of a transaction that wrote this row
                  and may be committing; Postgres knows by the xid whether it has ended
    ``r:<token>`` lease: one reader is loading this row
    ``d:{…}`` document: bytes that are made of other rows as well, behind the stamps that they were
                  made under (``stamps.py``). It reads as a row while these are what they were,
                  or as ``=`` and the bytes where a function computed them

Leases are those of Facebook's memcache (Nishtala et al., NSDI 2013); the mark
before COMMIT is Hibernate's soft lock and python-ndb's write lock; the owner's
comparison in ``push`` is rockscache's. Every function here is one round trip
and raises ``CacheUnavailable`` when there is no answer.
"""

import random
import secrets
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from cachelayer import conf, events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import epoch, incarnation, keyspace, scripts, transport, variants
from cachelayer.redis.batches import batched
from cachelayer.redis.gate import Use, gate
from cachelayer.representation import loading, registry
from cachelayer.representation.computed import VALUE

NULL: Final = loading.NULL
#: The first byte of a row.
ROW: Final = b"{"
#: What a document begins with, as it is stored, and as it reads when it is not valid.
INVALID: Final = b"d:"
#: In place of a row: the mark is taken away, and the next reader loads the row.
INVALIDATE: Final = b""
#: In place of a transaction's: a mark of none, which has ended.
_NO_TRANSACTION: Final = 0
_NOT_ISSUED: Final = 2**62

_mark = scripts.load("mark", "own_incarnation", "variants")
_get_verified = scripts.load("get_verified", "own_incarnation")
_document = scripts.load("document", "own_incarnation", "checked")
_lease = scripts.load("lease")
_repair = scripts.load("repair", "own_incarnation", "variants")
_fill = scripts.load("fill", "fill_one")
_confirm = scripts.load("confirm", "own_incarnation", "checked", "fill_one")
_push = scripts.load("push", "variants", "release_one")
_release = scripts.load("release", "release_one")
_drop = scripts.load("drop", "variants")


class Leased(IntEnum):
    """What became of an attempt to lease a key."""

    HELD = 0
    TAKEN = 1
    #: A writer may be committing what this release has under another key.
    MARKED = 2


_NO_MARKS: Final[Mapping[str, bytes | None]] = {}


def is_known(value: bytes | None) -> bool:
    """Whether *value* answers a read: a row, ``null``, or what a function has computed."""
    return value is not None and (value[:1] in (ROW, VALUE) or value == NULL)


def is_mark(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"w:"


def transactions(marks: bytes) -> set[int]:
    """The transactions whose marks these are; empty when all are a repair's own."""
    texts = [mark.rpartition(b":")[2] for mark in marks.split()]
    # What is no number is of a transaction that nobody can ask for: it never ends.
    xids = {int(text) if text.isdigit() else _NOT_ISSUED for text in texts}
    return xids - {_NO_TRANSACTION}


def is_invalid(value: bytes | None) -> bool:
    """Whether *value* is a document of which something has changed."""
    return value is not None and value[:2] == INVALID


def is_lease(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"r:"


def name(value: bytes | None) -> str:
    """The state's name for people: absent, row, value, null, mark, lease or invalid."""
    if value is None:
        return "absent"
    return _NAMES.get(value[:1], "foreign")


_NAMES: Final = {
    b"{": "row",
    VALUE: "value",
    b"n": "null",
    b"w": "mark",
    b"r": "lease",
    b"d": "invalid",
}


def new_mark(xid: int) -> bytes:
    """A mark of the transaction *xid*; no two are alike."""
    return b"w:%b:%d" % (secrets.token_hex(8).encode(), xid)


def new_lease() -> bytes:
    return b"r:" + secrets.token_hex(8).encode()


def _of_values(values: Sequence[bytes | None]) -> dict[str, str]:
    return {"cache.state": name(values[0])} if len(values) == 1 else {}


@events.operation("get", _of_values)
def get(keys: Sequence[str]) -> list[bytes | None]:
    """The values of *keys*, of one model, as this release has them."""
    if keys and registry.is_of_documents(keys[0]):
        command = _document([*variants.stored(keys), incarnation.KEY], keyspace.prefix(), 0)
        values: list[bytes | None] = transport.round_trip(command, use=Use.READ)[0]
        return values
    return transport.get(keyspace.all_of(variants.stored(keys))) if keys else []


def peek(key: str) -> tuple[bytes | None, float | None]:
    """What *key* holds, as ``get`` says it, and its seconds until it expires; asked as a write.

    So it shows a Redis that settles, and is no read that anybody relies on.
    """
    [stored] = variants.stored([key])
    # What is no string is somebody else's: GET says so.
    asked: tuple[Any, ...] = ("GET", keyspace.of(stored))
    if is_document := registry.is_of_documents(key):
        asked = _document([stored, incarnation.KEY], keyspace.prefix(), 0)
    found, ttl = transport.round_trip(asked, ("PTTL", keyspace.of(stored)))
    return found[0] if is_document else found, ttl / 1000 if ttl >= 0 else None


@events.operation("get", _of_values)
def get_plain(keys: Sequence[str]) -> list[bytes | None]:
    """What stands under the plain *keys*: for a release whose rows are elsewhere, their marks."""
    return transport.get(keyspace.all_of(keys))


@events.operation("get", lambda found: _of_values(found[0]))
def get_verified(keys: Sequence[str]) -> tuple[list[bytes | None], str]:
    """The values of *keys*, and the epoch for which this very server is trusted ("": none)."""
    values: list[bytes | None] = []
    epochs = set()
    of_documents = keys and registry.is_of_documents(keys[0])
    for part in batched(variants.stored(keys)):
        held = [*part, incarnation.KEY]
        command = _document(held, keyspace.prefix(), 1) if of_documents else _get_verified(held)
        [[*more, found]] = transport.round_trip(command, use=Use.READ)
        values += more
        epochs.add(incarnation.trusted_epoch(found))
    return values, epochs.pop() if len(epochs) == 1 else ""


@events.operation("lease", lambda found: {"cache.leased": found.count(Leased.TAKEN)})
def lease(
    wanted: Mapping[str, bytes | None], token: bytes, marks: Mapping[str, bytes | None] = _NO_MARKS
) -> list[Leased]:
    """Take the lease of every key, of one model, that still holds what is *wanted* of it.

    What may be wanted: nothing (None), marks of transactions that have all ended, another's lease
    that was waited for, a document that is not valid. A variant's is not granted while its plain
    key holds other marks than *marks*, whose transactions have all ended too. None is granted
    unless the incarnation is trusted and of the epoch that Postgres has: then the gate settles.
    """
    keys = list(wanted)
    variant = variants.variant(keys[0])
    values = [value or b"" for value in wanted.values()]
    if variant:
        values += [marks.get(key) or b"" for key in keys]
    # Entered once for all tenants.
    entry = variant.rpartition("/")[2]
    arguments = (token, _ms(conf.get().LEASE_LIFETIME), epoch.known(), entry, len(keys), *values)
    held = [*variants.stored(keys), *(keys if variant else [])]
    [answers] = transport.round_trip(
        _lease([*held, variants.KEY, incarnation.KEY], *arguments), use=Use.READ
    )
    if answers == -1:
        gate.settle("The incarnation is gone: Redis was flushed, or is being reconciled.")
        raise CacheUnavailable("Redis is not trusted.")
    return [Leased(answer) for answer in answers]


@events.operation("fill", lambda filled: {"cache.filled": sum(filled)})
def fill(rows: Mapping[str, bytes], token: bytes) -> list[bool]:
    """Store *rows* under the keys whose lease is still *token*; say which took.

    In place of a row ``INVALIDATE`` gives the lease back.
    """
    values = (part for key, row in rows.items() for part in (row, lifetime(key, row)))
    [answers] = transport.round_trip(_fill(variants.stored(rows), token, *values), use=Use.READ)
    return [answer == 1 for answer in answers]


@events.operation("fill")
def confirm(rows: Mapping[str, bytes], token: bytes) -> list[bytes | None]:
    """As ``fill``; answer what each key reads as then, None where it did not take.

    A page reads as itself only while its stamps are the same. None is answered of a server that
    is not trusted for the epoch that Postgres has.
    """
    values = (part for key, row in rows.items() for part in (row, lifetime(key, row)))
    keys = [*variants.stored(rows), incarnation.KEY]
    command = _confirm(keys, keyspace.prefix(), token, *values)
    held: list[bytes | None]
    [[*held, found]] = transport.round_trip(command, use=Use.READ)
    if incarnation.trusted_epoch(found) != epoch.known():
        return [None] * len(held)
    return held


@events.operation("mark")
def mark(keys: Sequence[str], token: bytes) -> str:
    """Put the mark *token* on *keys*, behind those that stand there; answer the server's epoch.

    The caller has written the rows and has not sent COMMIT. A server whose epoch is not that of
    Postgres (or "") is one that others do not read. Raises ``BrokenConnection`` when the
    connection broke or gave no answer in time: then the marks may be set later than anything
    that is sent from now on, and a second attempt needs another token. Were it the same, this
    writer's push could find its own late mark behind the next writer's, and store the older row.
    """
    command = _mark([*keys, variants.KEY, incarnation.KEY], token, keyspace.prefix())
    [answer] = transport.round_trip(command, resend=False)
    return incarnation.epoch_in(answer)


@events.operation("push", lambda results: {"cache.result": ", ".join(sorted(set(results)))})
def push(rows: Mapping[str, bytes], token: bytes) -> list[str]:
    """Replace the mark *token*, and those before it, by the committed row (or ``NULL``).

    Only for rows that were written under their own lock; in place of another, ``INVALIDATE``
    only takes the mark away. Answers for each key: ``pushed``, ``invalidated``, ``superseded``
    (a later writer's mark stands there) or ``lost`` (the mark was gone; key deleted).

    Rows go before what is invalidated: then whoever makes a page finds them. (Were it otherwise,
    their marks would keep them from being taken; the model says so.)
    """
    pushed = {key: row for key, row in rows.items() if row != INVALIDATE}
    values = (
        part
        for key, row in pushed.items()
        for part in (row, lifetime(key, row), variants.of(key.partition(":")[0]))
    )
    held = [*pushed, variants.KEY, incarnation.KEY]
    commands = [_push(held, token, keyspace.prefix(), *values)]
    if released := [key for key in rows if key not in pushed]:
        commands.append(_release(released, token))
    return [answer.decode() for answers in transport.round_trip(*commands) for answer in answers]


@events.operation("release", lambda results: {"cache.result": ", ".join(sorted(set(results)))})
def release(keys: Sequence[str], token: bytes) -> list[str]:
    """Take the mark *token* from *keys*; the next reader loads the row.

    Answers for each key: ``invalidated``, ``superseded`` (others' marks stand there) or
    ``lost`` (the mark was gone; key deleted).
    """
    [answers] = transport.round_trip(_release([*keys], token))
    return [answer.decode() for answer in answers]


@events.operation("repair")
def repair(keys: Sequence[str], reconciled: str) -> None:
    """Take from *keys* whatever may be older than the write that was logged for them.

    A row, null or lease is deleted; behind marks comes one of the repair's own. Only on the
    server whose incarnation is *reconciled*, such as ``trusted 7``; on any other, which readers
    and writers have left or will leave, it raises ``CacheUnavailable``.
    """
    mark = new_mark(_NO_TRANSACTION)
    command = _repair(
        [*keys, variants.KEY, incarnation.KEY], mark, f" {reconciled}", keyspace.prefix()
    )
    [answer] = transport.round_trip(command)
    if answer == -1:
        raise CacheUnavailable(f"This Redis is not {reconciled}; nothing is repaired there.")


@events.operation("drop", lambda deleted: {"cache.deleted": deleted})
def drop(keys: Sequence[str]) -> int:
    """Delete rows, nulls and leases, leave marks; answer how many were deleted."""
    deleted: int = transport.round_trip(_drop([*keys, variants.KEY], keyspace.prefix()))[0]
    return deleted


def lifetime(key: str, row: bytes) -> int:
    """How long *row* may stay under *key*, in milliseconds."""
    settings, cached = conf.get(), registry.of_prefix(key.partition(":")[0])
    longest = (cached and cached.lifetime) or settings.ROW_TTL
    if row == NULL:
        return _ms(min(settings.NULL_TTL, longest))
    jitter = 1 - settings.ROW_TTL_JITTER * random.random()
    return _ms(longest * jitter)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
