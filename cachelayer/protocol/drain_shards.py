"""Draining the repair log on Redis Cluster: what one node cannot repair waits, the rest does not.

A key of a node that is away stays in the log. So do all stamps then, although they are repaired
too, because rows come before stamps: 1. psql writes a row; row and stamp are in the log. 2. The
row's node is away; the stamp is repaired and leaves the log. 3. The row's node is back. A page is
made with the old row, under a new stamp. 4. The row is repaired, but the page stays.

For the same reason, stamps stay in the log while there are entries before those of this batch. Not
all of them are of nodes that are away: 1. A transaction logs a row with number 5. 2. Another logs
with number 6, and commits. 3. A drain repairs up to 6. 4. The first logs a stamp with number 8, and
commits. 5. The drain goes on behind 6, and repairs the stamp.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from django.db import connections, transaction
from redis.exceptions import RedisError

from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import key_states, scan
from cachelayer.redis import epoch, shard_epochs, shards, topology
from cachelayer.redis.batches import PIPELINE, batched
from cachelayer.representation import registry, relations
from cachelayer.representation.relations import EVERY

_TAKE: Final = """
SELECT id, key, (SELECT last_value FROM cachelayer_epoch),
    EXISTS (SELECT FROM cachelayer_repair WHERE id <= %s)
FROM cachelayer_repair WHERE id > %s ORDER BY id LIMIT %s FOR UPDATE
"""


class Drained:
    """How many entries were repaired, and the shards whose keys could not be."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: set[int] = set()

    def fail(self, which: Iterable[int]) -> None:
        self.failed.update(which)

    def has_repaired(self, shard: int) -> bool:
        return shard not in self.failed


def drain(states: Mapping[int, str] | None = None, by: scan.By = scan.once) -> Drained:
    """Repair what can be repaired of the log.

    *states* has the shards that are being reconciled, each with its state. Scans go *by* that
    function. Several processes may drain at a time, as for one Redis. Raises ``DatabaseError``, and
    ``CacheUnavailable`` if another reconcile has begun meanwhile.
    """
    result = Drained()
    for using in registry.databases():
        after = 0
        while (last := drain_batch(using, result, after, states or {}, by)) is not None:
            after = last
    return result


def sweep(prefixes: Iterable[str]) -> bool:
    """Repair every key of *prefixes* on every node that answers; return whether that is all.

    A node that is away must not keep the rows of others: the writer of a TRUNCATE is about to get
    the answer to its COMMIT. Never raises.
    """
    result = Drained()
    try:
        # Each of them, also after one that could not be repaired.
        done = [_repair_table(f"{prefix}:{EVERY}", result, {}) for prefix in prefixes]
        return all(done)
    except (CacheUnavailable, *epoch.UNKNOWN):
        return False


def drain_batch(
    using: str,
    result: Drained,
    after: int = 0,
    states: Mapping[int, str] | None = None,
    by: scan.By = scan.once,
) -> int | None:
    """Repair the oldest entries behind number *after*; return the last number, None at the end."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(_TAKE, [after, after, PIPELINE])
        found = cursor.fetchall()
        if not found:
            return None
        *_, has_earlier = found[0]
        # The copy must be as late as the log: a key that was logged because its shard had been
        # reconciled elsewhere must not be repaired on the former node.
        copy = shard_epochs.current()
        if copy.last.get(using) != found[0][2]:
            copy = shard_epochs.ask()
            if copy.last.get(using) != found[0][2]:
                raise CacheUnavailable("Another reconcile has begun meanwhile.")
        entries = [(number, key) for number, key, *_ in found]
        done = _repair(entries, result, states or {}, by, stamps_stay=has_earlier)
        if done:
            cursor.execute("DELETE FROM cachelayer_repair WHERE id = ANY(%s)", [done])
            result.count += len(done)
    return int(found[-1][0])


def _repair(
    found: Iterable[tuple[int, str]],
    result: Drained,
    states: Mapping[int, str],
    by: scan.By,
    *,
    stamps_stay: bool,
) -> list[int]:
    """Repair the entries *found*; return the numbers of those that can leave the log."""
    numbers: dict[str, list[int]] = {}
    for number, key in found:
        numbers.setdefault(key, []).append(number)
    rows = [key for key in numbers if not _is_stamp(key)]
    stamps = [key for key in numbers if _is_stamp(key)]
    done = _repair_entries(rows, result, states, by)
    is_whole = not result.failed
    repaired = _repair_entries(stamps, result, states, by)
    if is_whole and not stamps_stay:
        done += repaired
    return [number for key in done for number in numbers[key]]


def _is_stamp(key: str) -> bool:
    return relations.is_stamp(key.partition(":")[0])


def _repair_entries(
    entries: Sequence[str], result: Drained, states: Mapping[int, str], by: scan.By
) -> list[str]:
    """Repair what *entries* stand for, in batches; return those of which every key is repaired.

    Not one after the other: a node that is away would hold up the keys of all others once for each
    of its own.
    """
    keys_of = {entry: _keys_of(entry) for entry in entries if not _is_whole_table(entry)}
    failed: set[str] = set()
    for batch in batched(key for keys in keys_of.values() for key in keys):
        failed |= key_states.repair_shards(batch, states)
    result.fail(map(shards.of, failed))
    done = [entry for entry, keys in keys_of.items() if failed.isdisjoint(keys)]
    whole = [entry for entry in entries if _is_whole_table(entry)]
    return done + [entry for entry in whole if _repair_table(entry, result, states, by)]


def _repair_table(
    entry: str, result: Drained, states: Mapping[int, str], by: scan.By = scan.once
) -> bool:
    """Whether every row of the emptied table that *entry* names is repaired, on every node."""
    away: set[int] = set()
    for batch in batched(_of_all_nodes(entry.partition(":")[0], away, by)):
        away |= set(map(shards.of, key_states.repair_shards(batch, states)))
    result.fail(away)
    return not away


def _is_whole_table(entry: str) -> bool:
    """Whether it stands for every row. A stamp's is a key like any other."""
    return not _is_stamp(entry) and entry.partition(":")[2] == EVERY


def _keys_of(entry: str) -> list[str]:
    prefix, _, text = entry.partition(":")
    cached = registry.model_of_prefix(prefix)
    if _is_stamp(entry) or not cached:
        return [entry]
    # The triggers write primary keys in Postgres's text form.
    return [*cached.keys_of_texts(prefix, [text])]


def _of_all_nodes(prefix: str, away: set[int], by: scan.By) -> Iterator[str]:
    """The keys of *prefix* on every node that answers; adds the shards of the others to *away*."""
    served: set[int] = set()
    with suppress(RedisError, OSError):
        for node in topology.primaries():
            of_node = set(topology.shards_of(node))
            try:
                yield from scan.of_node(node, [prefix], by=by)
                served |= of_node
            except CacheUnavailable:
                continue
    away |= set(range(shards.COUNT)) - served
