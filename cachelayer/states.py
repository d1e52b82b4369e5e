"""One key, three states, six operations: the protocol's vocabulary.

A key holds a plain string, told apart by its first byte:

    absent        nobody knows
    ``{...}``     row: the JSON bytes that the API answers
    ``null``      known absent: there is no such row
    ``w:<token>:<over>`` mark: a transaction that wrote this row may be committing,
                  until Redis' clock says *over* (ms since 1970)
    ``r:<token>`` lease: one reader is loading this row

Leases are those of Facebook's memcache (Nishtala et al., NSDI 2013); the mark
before COMMIT is Hibernate's soft lock and python-ndb's write lock; the owner's
comparison in ``push`` is rockscache's. Every function here is one round trip
and raises ``CacheUnavailable`` when there is no answer.
"""

import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cachelayer import conf, incarnation, link, scripts, spans
from cachelayer.gate import CacheUnavailable, Use, gate

NULL: Final = b"null"
#: The first byte of a row.
ROW: Final = b"{"
#: Pushed in place of a row: the key is deleted, the next reader loads the row.
INVALIDATE: Final = b""

_mark = scripts.load("mark")
_lease = scripts.load("lease")
_repair = scripts.load("repair")
_fill = scripts.load("fill")
_push = scripts.load("push")
_drop = scripts.load("drop")


def is_known(value: bytes | None) -> bool:
    """Whether *value* answers a read: a row or ``null``."""
    return value is not None and (value[:1] == ROW or value == NULL)


def is_mark(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"w:"


def is_over(mark: bytes) -> bool:
    """Whether *mark* seems to be over; the lease asks Redis' own clock."""
    _, _, over = mark.rpartition(b":")
    return over.isdigit() and int(over) < time.time() * 1000


def is_lease(value: bytes | None) -> bool:
    return value is not None and value[:2] == b"r:"


def name(value: bytes | None) -> str:
    """The state's name for people: absent, row, null, mark or lease."""
    if value is None:
        return "absent"
    return {b"{": "row", b"n": "null", b"w": "mark", b"r": "lease"}.get(value[:1], "foreign")


def new_mark() -> bytes:
    return b"w:" + secrets.token_hex(8).encode()


def new_lease() -> bytes:
    return b"r:" + secrets.token_hex(8).encode()


@spans.operation("get", lambda values: {"cache.state": name(values[0])} if len(values) == 1 else {})
def get(keys: Sequence[str]) -> list[bytes | None]:
    """The values of *keys*."""
    return link.get(keys) if keys else []


@spans.operation("lease", lambda taken: {"cache.leased": sum(taken)})
def lease(keys: Sequence[str], token: bytes) -> list[bool]:
    """Take the lease of every key that is absent; say which were taken.

    None is granted unless the incarnation is trusted: then the gate settles.
    """
    lifetime = _ms(conf.get().LEASE_LIFETIME)
    answers = link.round_trip(
        *[_lease([key, incarnation.KEY], token, lifetime) for key in keys], use=Use.READ
    )
    if -1 in answers:
        gate.settle("The incarnation is gone: Redis was flushed, or is being reconciled.")
        raise CacheUnavailable("Redis is not trusted.")
    return [answer == 1 for answer in answers]


@spans.operation("fill", lambda filled: {"cache.filled": sum(filled)})
def fill(rows: Mapping[str, bytes], token: bytes) -> list[bool]:
    """Store *rows* under the keys whose lease is still *token*; say which took."""
    answers = link.round_trip(
        *[_fill([key], token, row, _lifetime(row)) for key, row in rows.items()], use=Use.READ
    )
    return [bool(answer) for answer in answers]


@spans.operation("mark")
def mark(keys: Sequence[str], token: bytes) -> None:
    """Put the mark *token* on *keys*, whatever they hold.

    The caller holds the row locks and has not sent COMMIT. Raises
    ``BrokenConnection`` when the connection broke or gave no answer in time: then
    the marks may be set later than anything that is sent from now on, and a second
    attempt needs another token. Were it the same, this writer's push could find its own late
    mark where the next writer's has stood, and store the older row.
    """
    lifetime = _ms(conf.get().MARK_LIFETIME)
    link.round_trip(*[_mark([key], token, lifetime) for key in keys], resend=False)


@spans.operation("push", lambda results: {"cache.result": ", ".join(sorted(set(results)))})
def push(rows: Mapping[str, bytes], token: bytes) -> list[str]:
    """Replace the mark *token* by the committed row (``NULL``, ``INVALIDATE``).

    Answers for each key: ``pushed``, ``invalidated``, ``superseded`` (another
    writer's mark stands there) or ``lost`` (the mark was gone; key deleted).
    """
    answers = link.round_trip(
        *[_push([key], token, row, _lifetime(row)) for key, row in rows.items()]
    )
    return [answer.decode() for answer in answers]


@spans.operation("repair")
def repair(keys: Sequence[str]) -> None:
    """Take from *keys* whatever may be older than the write that was logged for them.

    A row, null or lease is deleted; a mark is replaced by one of the repair's own.
    """
    token, lifetime = new_mark(), _ms(conf.get().MARK_LIFETIME)
    link.round_trip(*[_repair([key], token, lifetime) for key in keys])


@spans.operation("drop", lambda deleted: {"cache.deleted": deleted})
def drop(keys: Sequence[str]) -> int:
    """Delete rows, nulls and leases, leave marks; answer how many were deleted."""
    return sum(link.round_trip(*[_drop([key]) for key in keys]))


def _lifetime(row: bytes) -> int:
    settings = conf.get()
    if row == NULL:
        return _ms(settings.NULL_TTL)
    jitter = 1 - settings.ROW_TTL_JITTER * random.random()
    return _ms(settings.ROW_TTL * jitter)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
