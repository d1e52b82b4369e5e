"""The epochs of the shards of a Redis Cluster, kept in Postgres.

The sequence ``cachelayer_epoch`` counts the reconciles, as for one Redis. A reconcile of some
shards writes its number beside each of them into the table ``cachelayer_shard``. The other shards
keep the number of their own last reconcile, so they are read and marked as before.

The last number, which the triggers tell every writer, says whether this process's copy of the table
is the latest: the largest number in a copy is the last one. The table is locked before a number is
taken, so numbers become visible in their order. Otherwise: 1. A reconcile takes 8 and pauses.
2. Another takes 9 and writes it. 3. A writer reads the table, finds 9 and takes its copy for the
latest. 4. The first writes 8 beside shard 5, and reconciles it on another node. 5. The writer marks
the former node of shard 5, whose number is still in its copy, and nobody sees the mark.
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cachelayer.redis import epoch
from cachelayer.representation import registry

_READ: Final = """
SELECT (SELECT last_value FROM cachelayer_epoch),
    coalesce(json_object_agg(shard, epoch), '{}')::text
FROM cachelayer_shard
"""
_WRITE: Final = """
LOCK TABLE cachelayer_shard IN EXCLUSIVE MODE;
WITH next AS MATERIALIZED (SELECT nextval('cachelayer_epoch') AS number)
INSERT INTO cachelayer_shard (shard, epoch)
SELECT shard, number FROM next, unnest(ARRAY[%s]) AS shard
ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch
"""
#: How often, and after how many seconds, the table is read again while a number is being written.
_TRIES: Final = 5
_PAUSE: Final = 0.02


class Copy:
    """This process's copy of the tables: the text of their last numbers, and each shard's epoch."""

    def __init__(self, last: Mapping[str, int], of_shard: Mapping[int, str]) -> None:
        self.last, self.of_shard = last, of_shard
        self.version = epoch.text(last)


_copy = Copy({}, {})
_lock = threading.Lock()
#: The calls of ``ask``, and which of them has made the copy.
_calls = itertools.count(1)
_made_by = 0


def known(shard: int) -> str:
    """The epoch of *shard* that this process last heard of; "" if it was never reconciled.

    The first call asks Postgres, and so does the first one after a later number was heard. Raises
    ``DatabaseError`` or ``InterfaceError``.
    """
    return current().of_shard.get(shard, "")


def current() -> Copy:
    """The copy for the last number that was heard; raises as ``known``."""
    if _copy.version != epoch.known() or not _copy.last:
        ask()
    return _copy


def held() -> Copy | None:
    """The copy, if it is that for the last number that was heard; asks nobody."""
    return _copy if _copy.last and _copy.version == epoch.held() else None


def counts(shard: int, found: str, using: str, heard: str) -> bool:
    """Whether a mark on a server with the epoch *found* is seen by the readers of *shard*.

    *heard* is what the notice of the transaction in the database *using* said: the copy must be at
    least as late. Raises as ``known``.
    """
    copy = _copy
    if copy.last.get(using, -1) < int(heard or 0):
        copy = ask()
    if copy.last.get(using, -1) < int(heard or 0):
        return False
    expected = copy.of_shard.get(shard, "")
    return bool(expected) and found == expected


def ask() -> Copy:
    """Read the tables; raises as ``known``.

    The copy is never replaced by the answer to an earlier question: 1. A thread asks and is told 8.
    2. Another is told 9. 3. The first takes its 8 for the latest, and repairs or marks the former
    node of a shard.

    If the last number is in no table, another kind of Redis was reconciled last, and no shard has
    an epoch.
    """
    global _copy, _made_by
    call = next(_calls)
    for _ in range(_TRIES):
        found = {using: _read(using) for using in registry.databases()}
        last = {using: number for using, (number, _) in found.items()}
        tables = {using: table for using, (_, table) in found.items()}
        if all(max(table.values(), default=None) == last[u] for u, table in tables.items()):
            break
        time.sleep(_PAUSE)
    else:
        tables = {using: {} for using in found}
    copy = Copy(last, _by_shard(tables))
    with _lock:
        if call > _made_by:
            _copy, _made_by = copy, call
            epoch.hear(copy.version)
        return _copy


def _by_shard(tables: Mapping[str, Mapping[int, int]]) -> dict[int, str]:
    shards = set.intersection(*(set(table) for table in tables.values())) if tables else set()
    return {s: epoch.text({using: table[s] for using, table in tables.items()}) for s in shards}


def _read(using: str) -> tuple[int, dict[int, int]]:
    with epoch.cursor(using) as cursor:
        cursor.execute(_READ)
        last, table = cursor.fetchone()
    return int(last), {int(shard): int(number) for shard, number in json.loads(table).items()}


def advance(shards: Iterable[int]) -> Copy:
    """Give *shards* the next epoch. All processes see it at once, and no rollback reverts it."""
    wanted = ",".join(str(int(shard)) for shard in sorted(shards))
    for using in registry.databases():
        with epoch.cursor(using) as cursor:
            # Without parameters, so that both statements are one message and one transaction: a
            # process that is frozen between them would hold the lock.
            cursor.execute(_WRITE % wanted)
    return ask()


def forget(*args: Any) -> None:
    """Forget the copy, as in a new process."""
    global _copy, _lock
    _copy, _lock = Copy({}, {}), threading.Lock()


os.register_at_fork(after_in_child=forget)
