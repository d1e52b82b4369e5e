"""Stamps: the keys that tell whether a document is still valid.

A stamp is a key that stands for rows (``relations.py`` defines which). It holds a random value,
new after every change, or the marks of writers at work. A document is stored with the stamps that
were noted before its rows were loaded. It is a hit while all of them still have the same value.
The idea to validate a cached value by the versions of its sources comes from TxCache (Ports et
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
from cachelayer.protocol import key_values, sharded_keys, sharded_reads, takeover
from cachelayer.redis import keyspace, scripts, shards, transport, variants
from cachelayer.redis.batches import batched
from cachelayer.representation import tenancy
from cachelayer.representation.relations import EVERY, Column

_stamp = scripts.load("stamp", "own_incarnation")


def of(using: str, values: Iterable[tuple[Column, Any]]) -> set[str]:
    """The stamps of columns and values; raises ``CacheUnavailable`` as ``tenancy`` does."""
    return {_key(using, *each) for each in values}


def of_all(using: str, columns: Iterable[Column]) -> set[str]:
    """The stamps of *columns* that a statement marks if it writes too many rows to name them."""
    return of(using, ((column, EVERY) for column in columns))


def _key(using: str, column: Column, value: Any) -> str:
    return f"{tenancy.start(using, column.table)}{column.prefix}:{value}"


def of_value(value: bytes | None) -> set[str]:
    """The stamps under which an invalid document was made."""
    return set(_under(value))


def _under(value: bytes | None) -> dict[str, str]:
    if value is None or not key_values.is_invalid(value):
        return {}
    # In the stored form, the bytes follow.
    head = value[len(key_values.INVALID) :].partition(b"\n")[0]
    under: dict[str, str] = orjson.loads(head)
    return under


@dataclass(frozen=True, slots=True, order=True)
class Changed:
    """A stamp that has changed since a document was made."""

    key: str
    #: ``mark``: a writer is at work, or was killed. ``value``: a reader has loaded its rows since.
    #: ``absent``: no reader has loaded its rows since, or it has expired.
    state: str
    #: When the document and the new value were made; the change was between the two.
    made: datetime | None
    renewed: datetime | None


def changed(value: bytes | None) -> list[Changed]:
    """The changed stamps of an invalid document, and since when. Raises ``CacheUnavailable``."""
    if not (under := _under(value)):
        return []
    pairs = zip(under.items(), _now(under), strict=True)
    return sorted(
        Changed(key, _state(now), _time(stamp.encode()), _time(now))
        for (key, stamp), now in pairs
        if now != stamp.encode()
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A stamp: its value when a document was made, and its value now."""

    key: str
    #: None: there is no document, or it was not made under this stamp.
    made: str | None
    #: None: the stamp is absent.
    now: str | None
    #: The current state, as in ``Changed``.
    state: str


def seen(key: str, known: Iterable[str] = ()) -> list[Seen]:
    """The stamps under which the document *key* was made, and the *known* stamps.

    The document is valid if all of them are unchanged. This is for people: readers check document
    and stamps in one script. The gate lets it pass like a write, as for ``key_states.peek``.
    Raises ``CacheUnavailable``.
    """
    [stored] = variants.stored([key])
    [value] = transport.round_trip(("GET", keyspace.of(stored)))
    under = _under(value)
    keys = sorted({*under, *known})
    found = _now(keys)
    return [
        Seen(each, under.get(each), _text(now), _state(now))
        for each, now in zip(keys, found, strict=True)
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _now(keys: Iterable[str]) -> list[bytes | None]:
    """What *keys* hold now."""
    wanted = [*keys]
    if not wanted:
        return []
    if shards.are_used():
        return [*sharded_reads.now(wanted).values()]
    [found] = transport.round_trip(("MGET", *keyspace.all_of(wanted)))
    return list(found)


def _state(value: bytes | None) -> str:
    if value is None:
        return "absent"
    return "mark" if key_values.is_mark(value) else "value"


def _time(value: bytes | None) -> datetime | None:
    """When a stamp was made."""
    text = (value or b"").rpartition(b":")[2]
    is_stamp = value is not None and value[:2] == b"v:" and text.isdigit()
    return datetime.fromtimestamp(int(text) / 1000, UTC) if is_stamp else None


def note(using: str, keys: Iterable[str], seconds: float | None = None) -> dict[str, str]:
    """The values of the stamps *keys*; a new value if a stamp is absent or its marks have ended.

    The stamps stay as long as a document that lives for *seconds* (default: ``ROW_TTL``). Stamps
    with marks of running writers are left out. Raises ``CacheUnavailable``.
    """
    longest = max(conf.get().ROW_TTL, seconds or 0.0)
    wanted = dict.fromkeys(keys, b"")
    found = _note(wanted, longest)
    marked = {key: value for key, value in found.items() if key_values.is_mark(value)}
    if marked and (ended := takeover.free(using, marked)):
        found |= _note({key: value or b"" for key, value in ended.items()}, longest)
    return {key: value.decode() for key, value in found.items() if not key_values.is_mark(value)}


@events.operation("stamp")
def _note(wanted: Mapping[str, bytes], seconds: float) -> dict[str, bytes]:
    # The time is for people: an invalid document became invalid before this time.
    value = f"v:{secrets.token_hex(8)}:{round(time.time() * 1000)}"
    lifetime = max(1, round(seconds * 1000))
    if shards.are_used():
        return sharded_keys.note(wanted, value, lifetime)
    found: dict[str, bytes] = {}
    for part in batched(wanted.items()):
        keys, marks = zip(*part, strict=True)
        [answers] = transport.round_trip(_stamp(keys, value, lifetime, "", *marks))
        found |= zip(keys, answers, strict=True)
    return found


def sealed(row: bytes, noted: Mapping[str, str]) -> bytes:
    """The stored form of *row*, with the stamps under which it was made."""
    return b"d:%b\n%b" % (orjson.dumps(dict(noted)), row)
