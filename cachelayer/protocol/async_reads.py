"""Reading from async code: a hit takes no thread; everything else is read as in a thread.

A hit is answered by the event loop. Where the cache has no row, or may not be used, the read
happens in Django's thread for synchronous code (``sync_to_async``), where also the connection to
Postgres is: it takes the lease, loads and fills. Writes need nothing of their own: Django's async
ORM sends them from that thread, and triggers follow them.

1. Synchronous code has written a row, and its transaction is open. 2. Async code of the same
request reads it: on the loop, the cache has the row of before. So a row that any open transaction
of this process has written is read in the thread.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import models

from cachelayer import events
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_values, reads, write
from cachelayer.protocol.reads import Fetched, Read
from cachelayer.representation import registry, tenancy
from cachelayer.representation.plans import Serializer
from cachelayer.representation.registry import Cached
from cachelayer.representation.relations import EVERY


async def aread(
    model: type[models.Model], pk: Any, *, serializer: Serializer | None = None
) -> Read:
    """As ``read``, from async code."""
    return await read_one(registry.get(model, serializer), pk)


async def aread_by(
    model: type[models.Model], *, serializer: Serializer | None = None, **value: Any
) -> Read:
    """As ``read_by``, from async code."""
    name, wanted = reads.only(value)
    return await read_one(registry.get(model, serializer, name), wanted)


async def aread_many(
    model: type[models.Model], pks: Iterable[Any], *, serializer: Serializer | None = None
) -> dict[Any, Read]:
    """As ``read_many``, from async code; without a thread when all are hits."""
    cached = registry.get(model, serializer)
    wanted = [*pks]
    found = await asyncio.gather(*[_hit(cached, cached.to_python(pk)) for pk in wanted])
    if all(isinstance(each, Read) for each in found):
        hits = [reads.ended(cached, each) for each in found if isinstance(each, Read)]
        return {cached.to_python(pk): hit for pk, hit in zip(wanted, hits, strict=True)}
    return await sync_to_async(reads.read_many)(model, wanted, serializer=serializer)


async def read_one(cached: Cached, pk: Any) -> Read:
    """As ``reads.read_one``, from async code."""
    began = time.perf_counter()
    pk = cached.to_python(pk)
    found = await _hit(cached, pk)
    if isinstance(found, Read):
        return reads.ended(cached, found, time.perf_counter() - began)
    return await sync_to_async(reads.read_one)(cached, pk, found)


async def _hit(cached: Cached, pk: Any) -> Read | Fetched | None:
    """The hit; what Redis holds in its place; or None where it was not asked."""
    if tenancy.may_be(cached.database):
        return None  # Whose key it is, its thread knows.
    key = cached.key(pk)
    if _is_being_written(cached, key):
        return None
    try:
        value, _ = await reads.afetch(key)
    except CacheUnavailable:
        return None
    if value is None or not key_values.is_known(value):
        return Fetched(key, value)
    events.value_answered(cached, pk, key, value)
    return Read("hit", reads.unwrap(value))


def _is_being_written(cached: Cached, key: str) -> bool:
    prefixes = {column.prefix for column in cached.columns()} if cached.is_document else set()
    return write.is_open({key, f"{key.partition(':')[0]}:{EVERY}"}, prefixes)
