"""Stamps: what a document was made under, and whether that is still so.

A stamp is a key that stands for rows (``relations.py`` says which). It holds a random value,
new after every change, or the marks of writers at work. A document is stored with the stamps
that were there before its rows were loaded, and is a hit while all of them are there, the same.
The idea of validating what is cached by versions of what it was made of is TxCache's (Ports et
al., OSDI 2010); the marks make it linearizable.

In Redis a document is ``d:``, its stamps as a JSON object, a line feed, and the bytes.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.db import models

from cachelayer import conf, keyspace, link, scripts, states, takeover, tenancy
from cachelayer.batches import batched
from cachelayer.notice import EVERY
from cachelayer.registry import CachedModel
from cachelayer.relations import Column

_stamp = scripts.load("stamp")


def of_all(using: str, columns: Iterable[Column]) -> set[str]:
    """The stamps of *columns* that a statement of very many rows marks, for it names no row."""
    return {_key(using, column, EVERY) for column in columns}


def of_instance(using: str, cached: CachedModel, instance: models.Model) -> set[str]:
    """The stamps of what *instance* shows; raises ``CacheUnavailable`` as ``tenancy``."""
    assert cached.shown
    return {_key(using, *each) for each in cached.shown.stamps(instance)}


def _key(using: str, column: Column, value: Any) -> str:
    return f"{tenancy.start(using, column.table)}{column.prefix}:{value}"


def of_value(value: bytes | None) -> set[str]:
    """The stamps under which a document was made that is invalid now."""
    return set(_under(value))


def _under(value: bytes | None) -> dict[str, str]:
    if value is None or not states.is_invalid(value):
        return {}
    under: dict[str, str] = orjson.loads(value[len(states.INVALID) :])
    return under


def changed(value: bytes | None) -> list[str]:
    """Of a document that is invalid: which stamps are not what they were when it was made.

    Raises ``CacheUnavailable``.
    """
    if not (under := _under(value)):
        return []
    [found] = link.round_trip(("MGET", *keyspace.all_of(under)))
    pairs = zip(under.items(), found, strict=True)
    return sorted(key for (key, stamp), now in pairs if now != stamp.encode())


def note(using: str, keys: Iterable[str]) -> dict[str, str]:
    """The values of the stamps *keys*; new ones for those that are absent or whose marks are over.

    Without those that writers are at work on. Raises ``CacheUnavailable``.
    """
    wanted = dict.fromkeys(keys, b"")
    found = _note(wanted)
    marked = {key: value for key, value in found.items() if states.is_mark(value)}
    if marked and (ended := takeover.free(using, marked)):
        found |= _note({key: value or b"" for key, value in ended.items()})
    return {key: value.decode() for key, value in found.items() if not states.is_mark(value)}


def _note(wanted: Mapping[str, bytes]) -> dict[str, bytes]:
    value = f"v:{secrets.token_hex(8)}"
    lifetime = max(1, round(conf.get().ROW_TTL * 1000))
    found: dict[str, bytes] = {}
    for part in batched(wanted.items()):
        keys, marks = zip(*part, strict=True)
        [answers] = link.round_trip(_stamp(keys, value, lifetime, *marks))
        found |= zip(keys, answers, strict=True)
    return found


def sealed(row: bytes, noted: Mapping[str, str]) -> bytes:
    """*row* as it is stored, with the stamps under which it was made."""
    return b"d:%b\n%b" % (orjson.dumps(dict(noted)), row)
