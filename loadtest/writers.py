"""Writes that do not come over HTTP: the ORM's bulk update in another process, and plain SQL."""

import json
import queue
import random
import threading
from collections.abc import Sequence
from typing import Final

import psycopg

from loadtest.own_lab import OwnLab
from loadtest.record import Record, now

# Runs under `./lab manage shell`: one QuerySet.update for each line that it reads.
_BULK: Final = """
import json, sys
from django.db import Error, close_old_connections
from items.models import Item
for line in sys.stdin:
    order = json.loads(line)
    try:
        close_old_connections()
        count = Item.objects.filter(pk__in=order["keys"]).update(name=order["value"])
    except Error as error:
        count = -1
    print(count, flush=True)
"""
#: An answer that takes longer is counted as none.
_PATIENCE: Final = 30.0


class BulkWriter(threading.Thread):
    """``Item.objects.filter(…).update(…)``, a few items at a time, until *stop*."""

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
            count += 1
            if not self._update(keys, f"bulk-{count}"):
                break
        self._process.terminate()
        self._process.wait()

    def _update(self, keys: Sequence[str], value: str) -> bool:
        start = now()
        answer = ""
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"keys": keys, "value": value}) + "\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=_PATIENCE)
        except (OSError, queue.Empty):
            pass
        done = answer == str(len(keys))
        self._record.writes(keys, value, start, "QuerySet.update", "ok" if done else "unknown")
        return bool(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line.strip())
        self._answers.put("")


class SqlWriter(threading.Thread):
    """``UPDATE … WHERE`` by a program that knows nothing of the cache, until *stop*."""

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
            self._update(keys, f"sql-{count}")
        if self._connection:
            self._connection.close()

    def _update(self, keys: list[str], value: str) -> None:
        start = now()
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            self._connection.execute(
                "UPDATE items SET name = %s WHERE id = ANY(%s::uuid[])", [value, keys]
            )
        except psycopg.Error:
            self._connection = None
            self._record.writes(keys, value, start, "UPDATE by SQL", "unknown")
        else:
            self._record.writes(keys, value, start, "UPDATE by SQL")
