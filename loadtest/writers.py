"""Writes of several rows, which do not come over HTTP: by the ORM elsewhere, and by plain SQL.

Both also create rows, with keys that they choose, and delete those again.
"""

import json
import queue
import random
import threading
import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from loadtest.clients import Keys, is_calm
from loadtest.history import ABSENT
from loadtest.isolated_lab import IsolatedLab
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

def create(values):
    items = [Item(pk=key, name=name, price=1) for key, name in values.items()]
    Item.objects.bulk_create(items)
    created.update({str(item.pk): item.created_at.isoformat() for item in items})
    return len(items)

def delete(values):
    return Item.objects.filter(pk__in=values).delete()[0]

def execute(values):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE items SET name = v.name FROM unnest(%s::uuid[], %s::text[]) AS v (key, name) "
            "WHERE id = v.key", [list(values), list(values.values())]
        )
        return cursor.rowcount

for line in sys.stdin:
    way, values = json.loads(line)
    created = {}
    try:
        close_old_connections()
        count = globals()[way](values)
    except Error as error:
        count = -1
    print(json.dumps([count, created]), flush=True)
"""
#: How the process above is asked to change rows, and what the report says of it.
WAYS: Final = {
    "update": "QuerySet.update",
    "bulk_update": "bulk_update",
    "bulk_create": "bulk_create, update_conflicts",
    "execute": "cursor.execute, UPDATE of several",
}
#: How it is asked for its own rows.
MAKING: Final = {"create": "bulk_create", "delete": "QuerySet.delete"}
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
_SQL_CREATE: Final = (
    "INSERT INTO items (id, name, price) "
    "SELECT * FROM unnest(%s::uuid[], %s::text[], %s::numeric[]) RETURNING id, created_at"
)
_SQL_DELETE: Final = "DELETE FROM items WHERE id = ANY(%s::uuid[])"
#: So many rows are created at a time.
_FEW: Final = 2
#: An answer that takes longer is counted as none.
_PATIENCE: Final = 30.0


class BulkWriter(threading.Thread):
    """Writes a few items at a time, by each of ``WAYS`` and ``MAKING`` in turn, until *stop*."""

    def __init__(
        self, lab: IsolatedLab, keys: Keys, record: Record, seed: str, stop: threading.Event
    ) -> None:
        super().__init__(name="bulk", daemon=True)
        self._keys, self._record, self._stop_event = keys, record, stop
        self._many = [*keys.hot[:1], *keys.cold]
        self._choice = random.Random(seed)
        self._made: list[str] = []
        self._process = lab.talk_to("manage", "shell", "--no-imports", "-v", "0", "-c", _BULK)
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self) -> None:
        ways, count = [*WAYS, *MAKING], 0
        while not self._stop_event.wait(self._choice.uniform(0.02, 0.2)):
            if _holds_back(self._choice):
                continue
            way = ways[count % len(ways)]
            count += 1
            if not self._write(way, self._values(way, count)):
                break
        self._process.terminate()
        self._process.wait()

    def _values(self, way: str, count: int) -> dict[str, str]:
        if way == "delete":
            # Once only, also if the answer is lost: "absent" must be written once.
            gone, self._made = self._made, []
            return dict.fromkeys(gone, ABSENT)
        if way == "create":
            keys = [new_key(self._choice) for _ in range(_FEW)]
        else:
            keys = self._choice.sample(self._many, 5)
        # All rows of an update() have one name; those of the others have each their own.
        of_row = "" if way == "update" else "-{}"
        return {key: f"bulk-{count}" + of_row.format(n) for n, key in enumerate(keys)}

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
        count, created = json.loads(answer) if answer else (-1, {})
        done = count == len(values)
        if way == "create" and not done:
            self._record.unanswered_creates(values.values(), start, MAKING[way])
            return bool(answer)
        said = {**WAYS, **MAKING}[way]
        self._record.writes(values, start, said, "ok" if done else "unknown")
        if way == "create":
            for key, created_at in created.items():
                self._record.created(key, created_at)
            self._made.extend(values)
            self._keys.add(*values)
        return bool(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line.strip())
        self._answers.put("")


class SqlWriter(threading.Thread):
    """Changes, creates and deletes by a program that knows nothing of the cache, until *stop*."""

    def __init__(
        self, url: str, keys: Keys, record: Record, seed: str, stop: threading.Event
    ) -> None:
        super().__init__(name="sql", daemon=True)
        self._url, self._keys, self._record, self._stop_event = url, keys, record, stop
        self._choice = random.Random(seed)
        self._made: list[str] = []
        self._connection: psycopg.Connection | None = None

    def run(self) -> None:
        count = 0
        while not self._stop_event.wait(self._choice.uniform(0.05, 0.4)):
            if _holds_back(self._choice):
                continue
            count += 1
            if count % 3:
                self._change(count)
            elif self._made:
                self._remove()
            else:
                self._create(count)
        if self._connection:
            self._connection.close()

    def _change(self, count: int) -> None:
        keys = self._choice.sample(self._keys.by_sql, 2)
        values = {key: f"sql-{count}-{n}" for n, key in enumerate(keys)}
        way = list(_SQL)[count % 2]
        self._write(way, _SQL[way], values, [list(values), list(values.values())])

    def _create(self, count: int) -> None:
        values = {new_key(self._choice): f"sql-{count}-{n}" for n in range(_FEW)}
        # Before anybody can see them: how stale they may be depends on it.
        self._keys.made_by_sql.extend(values)
        row_values: list[list[Any]] = [[*values], [*values.values()], [1] * _FEW]
        start, way = now(), "INSERT by SQL"
        found = self._execute(_SQL_CREATE, row_values)
        if found is None:
            self._record.unanswered_creates(values.values(), start, way)
            return
        self._record.writes(values, start, way)
        for key, created_at in found.fetchall():
            self._record.created(str(key), created_at.isoformat())
        self._made.extend(values)
        self._keys.add(*values)

    def _remove(self) -> None:
        # Once only, also if the answer is lost: "absent" must be written once.
        gone, self._made = self._made, []
        self._write("DELETE by SQL", _SQL_DELETE, dict.fromkeys(gone, ABSENT), [gone])

    def _write(
        self, way: str, statement: str, values: Mapping[str, str], parameters: list[list[Any]]
    ) -> None:
        start = now()
        done = self._execute(statement, parameters)
        self._record.writes(values, start, way, "ok" if done else "unknown")

    def _execute(self, statement: str, parameters: list[list[Any]]) -> psycopg.Cursor | None:
        """None where it may or may not have happened."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            return self._connection.execute(statement, parameters)
        except psycopg.Error:
            self._connection = None
            return None


def _holds_back(choice: random.Random) -> bool:
    """Mostly, while it is calm; a write now and then meets pages that are cached."""
    return is_calm() and choice.random() < 0.8


def new_key(choice: random.Random) -> str:
    return str(uuid.UUID(int=choice.getrandbits(128), version=4))
