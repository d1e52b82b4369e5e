"""Writes of several rows, which do not come over HTTP: by the ORM elsewhere, and by plain SQL."""

import json
import queue
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from loadtest.own_lab import OwnLab
from loadtest.record import Record, now

# Runs under `./lab manage shell`: one write of several rows for each line that it reads.
_BULK: Final = """
import json, sys
from django.db import Error, close_old_connections, connection, transaction
from items.models import Item

def update(values):
    [value] = set(values.values())
    return Item.objects.filter(pk__in=values).update(name=value)

def bulk_update(values):
    items = list(Item.objects.filter(pk__in=values))
    for item in items:
        item.name = values[str(item.pk)]
    return Item.objects.bulk_update(items, ["name"])

def bulk_create(values):
    items = [Item(pk=key, name=name, price=1) for key, name in values.items()]
    return len(Item.objects.bulk_create(
        items, update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    ))

def execute(values):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE items SET name = v.name FROM unnest(%s::uuid[], %s::text[]) AS v (key, name) "
            "WHERE id = v.key", [list(values), list(values.values())]
        )
        return cursor.rowcount

for line in sys.stdin:
    way, values = json.loads(line)
    try:
        close_old_connections()
        count = globals()[way](values)
    except Error as error:
        count = -1
    print(count, flush=True)
"""
#: How the process above is asked to write, and what the report says of it.
WAYS: Final = {
    "update": "QuerySet.update",
    "bulk_update": "bulk_update",
    "bulk_create": "bulk_create, update_conflicts",
    "execute": "cursor.execute, UPDATE of several",
}
#: Each takes keys and names. Programs that know nothing of the cache send them.
_SQL: Final = {
    "UPDATE by SQL": (
        "UPDATE items SET name = v.name FROM unnest(%s::uuid[], %s::text[]) AS v (key, name) "
        "WHERE id = v.key"
    ),
    "upsert by SQL": (
        "INSERT INTO items (id, name, description, price, created_at, updated_at) "
        "SELECT id, v.name, description, price, created_at, updated_at "
        "FROM items JOIN unnest(%s::uuid[], %s::text[]) AS v (key, name) ON id = v.key "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name"
    ),
}
#: An answer that takes longer is counted as none.
_PATIENCE: Final = 30.0


class BulkWriter(threading.Thread):
    """Writes a few items at a time, by each of ``WAYS`` in turn, until *stop*."""

    def __init__(
        self, lab: OwnLab, keys: Sequence[str], record: Record, seed: str, stop: threading.Event
    ) -> None:
        super().__init__(name="bulk", daemon=True)
        self._keys, self._record, self._stop_event = keys, record, stop
        self._choice = random.Random(seed)
        self._process = lab.talk_to("manage", "shell", "--no-imports", "-v", "0", "-c", _BULK)
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self) -> None:
        count = 0
        while not self._stop_event.wait(self._choice.uniform(0.02, 0.2)):
            keys = self._choice.sample(list(self._keys), 5)
            way = list(WAYS)[count % len(WAYS)]
            count += 1
            # All rows of an update() have one name; those of the others have each their own.
            of_row = "" if way == "update" else "-{}"
            values = {key: f"bulk-{count}" + of_row.format(n) for n, key in enumerate(keys)}
            if not self._write(way, values):
                break
        self._process.terminate()
        self._process.wait()

    def _write(self, way: str, values: Mapping[str, str]) -> bool:
        start = now()
        answer = ""
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps([way, values]) + "\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=_PATIENCE)
        except (OSError, queue.Empty):
            pass
        done = answer == str(len(values))
        self._record.writes(values, start, WAYS[way], "ok" if done else "unknown")
        return bool(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line.strip())
        self._answers.put("")


class SqlWriter(threading.Thread):
    """Updates and upserts by a program that knows nothing of the cache, until *stop*."""

    def __init__(
        self, url: str, keys: Sequence[str], record: Record, seed: str, stop: threading.Event
    ) -> None:
        super().__init__(name="sql", daemon=True)
        self._url, self._keys, self._record, self._stop_event = url, keys, record, stop
        self._choice = random.Random(seed)
        self._connection: psycopg.Connection | None = None

    def run(self) -> None:
        count = 0
        while not self._stop_event.wait(self._choice.uniform(0.05, 0.4)):
            keys = self._choice.sample(list(self._keys), 2)
            count += 1
            self._write(list(_SQL)[count % 2], {k: f"sql-{count}-{n}" for n, k in enumerate(keys)})
        if self._connection:
            self._connection.close()

    def _write(self, way: str, values: Mapping[str, str]) -> None:
        start = now()
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            self._connection.execute(_SQL[way], [list(values), list(values.values())])
        except psycopg.Error:
            self._connection = None
            self._record.writes(values, start, way, "unknown")
        else:
            self._record.writes(values, start, way)
