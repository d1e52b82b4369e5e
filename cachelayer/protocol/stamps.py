"""Stamps: what a document was made under, and whether that is still so.

A stamp is a key that stands for rows (``relations.py`` says which). It holds a random value,
new after every change, or the marks of writers at work. A document is stored with the stamps
that were there before its rows were loaded, and is a hit while all of them are there, the same.
The idea of validating what is cached by versions of what it was made of is TxCache's (Ports et
al., OSDI 2010); the marks make it linearizable.

In Redis a document is ``d:``, its stamps as a JSON object, a line feed, and the bytes.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from cachelayer import conf, events
from cachelayer.protocol import key_states, takeover
from cachelayer.redis import keyspace, scripts, transport, variants
from cachelayer.redis.batches import batched
from cachelayer.representation import tenancy
from cachelayer.representation.relations import EVERY, Column

_stamp = scripts.load("stamp")


def of(using: str, values: Iterable[tuple[Column, Any]]) -> set[str]:
    """The stamps of columns and values; raises ``CacheUnavailable`` as ``tenancy``."""
    return {_key(using, *each) for each in values}


def of_all(using: str, columns: Iterable[Column]) -> set[str]:
    """The stamps of *columns* that a statement of very many rows marks, for it names no row."""
    return of(using, ((column, EVERY) for column in columns))


def _key(using: str, column: Column, value: Any) -> str:
    return f"{tenancy.start(using, column.table)}{column.prefix}:{value}"


def of_value(value: bytes | None) -> set[str]:
    """The stamps under which a document was made that is invalid now."""
    return set(_under(value))


def _under(value: bytes | None) -> dict[str, str]:
    if value is None or not key_states.is_invalid(value):
        return {}
    # As it is stored, the bytes come behind it.
    head = value[len(key_states.INVALID) :].partition(b"\n")[0]
    under: dict[str, str] = orjson.loads(head)
    return under


@dataclass(frozen=True, slots=True, order=True)
class Changed:
    """A stamp that is not what it was when a document was made."""

    key: str
    #: ``mark``: a writer is at work, or was killed. ``value``: somebody has loaded what it stands
    #: for since. ``absent``: nobody has, and it may also have expired.
    state: str
    #: When the document was made, and when the new value was: it changed between the two.
    made: datetime | None
    renewed: datetime | None


def changed(value: bytes | None) -> list[Changed]:
    """Of a document that is invalid: which stamps are not what they were, and since when.

    Raises ``CacheUnavailable``.
    """
    if not (under := _under(value)):
        return []
    [found] = transport.round_trip(("MGET", *keyspace.all_of(under)))
    pairs = zip(under.items(), found, strict=True)
    return sorted(
        Changed(key, _state(now), _time(stamp.encode()), _time(now))
        for (key, stamp), now in pairs
        if now != stamp.encode()
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A stamp: what it held when a document was made, and what it holds now."""

    key: str
    #: None: there is no document, or it was not made under this one.
    made: str | None
    #: None: it is absent.
    now: str | None
    #: What is there now, as ``Changed`` has it.
    state: str


def seen(key: str, known: Iterable[str] = ()) -> list[Seen]:
    """The stamps that the document *key* was made under, valid or not, and those that are *known*.

    It is valid where all of them are what they were. For people: a reader has both looks in one
    script. Asked as a write, as ``states.peek``; raises ``CacheUnavailable``.
    """
    [stored] = variants.stored([key])
    [value] = transport.round_trip(("GET", keyspace.of(stored)))
    under = _under(value)
    keys = sorted({*under, *known})
    [found] = transport.round_trip(("MGET", *keyspace.all_of(keys))) if keys else [[]]
    return [
        Seen(each, under.get(each), now and now.decode(errors="replace"), _state(now))
        for each, now in zip(keys, found, strict=True)
    ]


def _state(value: bytes | None) -> str:
    if value is None:
        return "absent"
    return "mark" if key_states.is_mark(value) else "value"


def _time(value: bytes | None) -> datetime | None:
    """When a stamp was made."""
    text = (value or b"").rpartition(b":")[2]
    is_stamp = value is not None and value[:2] == b"v:" and text.isdigit()
    return datetime.fromtimestamp(int(text) / 1000, UTC) if is_stamp else None


def note(using: str, keys: Iterable[str], seconds: float | None = None) -> dict[str, str]:
    """The values of the stamps *keys*; new ones for those that are absent or whose marks are over.

    They stay as long as a document that lives for *seconds*, or ``ROW_TTL``. Without those that
    writers are at work on. Raises ``CacheUnavailable``.
    """
    longest = max(conf.get().ROW_TTL, seconds or 0.0)
    wanted = dict.fromkeys(keys, b"")
    found = _note(wanted, longest)
    marked = {key: value for key, value in found.items() if key_states.is_mark(value)}
    if marked and (ended := takeover.free(using, marked)):
        found |= _note({key: value or b"" for key, value in ended.items()}, longest)
    return {key: value.decode() for key, value in found.items() if not key_states.is_mark(value)}


@events.operation("stamp")
def _note(wanted: Mapping[str, bytes], seconds: float) -> dict[str, bytes]:
    # Its time is for people: a document that is invalid has been so since before that.
    value = f"v:{secrets.token_hex(8)}:{round(time.time() * 1000)}"
    lifetime = max(1, round(seconds * 1000))
    found: dict[str, bytes] = {}
    for part in batched(wanted.items()):
        keys, marks = zip(*part, strict=True)
        [answers] = transport.round_trip(_stamp(keys, value, lifetime, *marks))
        found |= zip(keys, answers, strict=True)
    return found


def sealed(row: bytes, noted: Mapping[str, str]) -> bytes:
    """*row* as it is stored, with the stamps under which it was made."""
    return b"d:%b\n%b" % (orjson.dumps(dict(noted)), row)
