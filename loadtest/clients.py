"""Clients of the storm: they read and write items over HTTP and record what they see.

The name of an item is its value: every write gives it a name of its own.
"""

import http.client
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from loadtest.history import ABSENT
from loadtest.record import Failure, Record, now

_TIMEOUT: Final = 20.0
#: Requests on one connection; then another worker may get the client.
_PER_CONNECTION: Final = 40
#: New items that one client keeps before it deletes its oldest.
_OWN: Final = 3
#: Deleted items are read a little longer.
_SHORT_LIVED: Final = 24
#: So long a description that a few dozen items are worth evicting.
_LONG: Final = 2000


@dataclass
class Keys:
    """Which items there are, by what is done to them."""

    hot: list[str] = field(default_factory=list)
    cold: list[str] = field(default_factory=list)
    #: Written by SQL, too.
    by_sql: list[str] = field(default_factory=list)
    #: Written through the server that is cut off now and then, too.
    island: list[str] = field(default_factory=list)
    #: Made and deleted by the clients.
    short_lived: list[str] = field(default_factory=list)

    def choose(self, choice: random.Random) -> str:
        kind = choice.random()
        if kind < 0.5 or not self.cold:
            return choice.choice(self.hot)
        if kind < 0.75:
            return choice.choice(self.cold)
        kinds = [keys for keys in (self.by_sql, self.island, self.short_lived) if keys]
        return choice.choice(choice.choice(kinds)) if kinds else choice.choice(self.cold)


class Api:
    """One connection to a server, as one client; records every request."""

    def __init__(self, url: str, record: Record, who: str) -> None:
        self._server = urlsplit(url).netloc
        self._record = record
        self.who = who
        self._used = 0
        self._connection = http.client.HTTPConnection(self._server, timeout=_TIMEOUT)

    def read(self, key: str) -> str | None:
        """The value of *key*; ``None`` when the request failed."""
        start = now()
        status, body, headers = self._request("GET", key, None)
        if status not in (200, 404):
            return None
        self._record.reads.append((start, now()))
        self._record.cache(headers.get("X-Cache", "none"))
        value = ABSENT if status == 404 else str(json.loads(body)["name"])
        self._record.read(key, value, start, f"GET {self.who}")
        if status == 200:
            self._record.row(key, value, body)
        return value

    def write(self, method: str, key: str, item: dict[str, Any] | None) -> bool:
        """PUT, PATCH or DELETE; whether it was acknowledged."""
        value = ABSENT if item is None else str(item["name"])
        who, start = f"{method} {self.who}", now()
        status, body, _ = self._request(method, key, item)
        if status in (200, 204):
            self._record.write(key, value, start, who)
            if status == 200:
                self._record.row(key, value, body)
            return True
        if status == 404:
            # As good as a read, and nothing was written.
            self._record.read(key, ABSENT, start, who)
        else:
            self._record.write(key, value, start, who, "failed" if status == 409 else "unknown")
        return False

    def create(self, item: dict[str, Any]) -> str | None:
        """POST; the new key. One that is not acknowledged is of no concern: nobody knows it."""
        start = now()
        status, body, _ = self._request("POST", "", item)
        if status != 201:
            return None
        key = str(json.loads(body)["id"])
        self._record.write(key, str(item["name"]), start, f"POST {self.who}")
        self._record.row(key, str(item["name"]), body)
        return key

    def _request(
        self, method: str, key: str, item: dict[str, Any] | None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        start = now()
        self._used += 1
        if self._used % _PER_CONNECTION == 0:
            self._connection.close()
        try:
            self._connection.request(
                method,
                f"/items/{key}" if key else "/items",
                None if item is None else json.dumps(item),
                {} if item is None else {"Content-Type": "application/json"},
            )
            response = self._connection.getresponse()
            status, body, headers = response.status, response.read(), response.headers
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._failed(start, f"{method} {type(error).__name__}")
            return 0, b"", http.client.HTTPMessage()
        if status >= 400 and status not in (404, 409):
            self._failed(start, f"{method} {status}")
        return status, body, headers

    def _failed(self, start: int, what: str) -> None:
        self._record.failures.append(Failure(start, now(), what, self._server))


class Client(threading.Thread):
    """Reads and writes until *stop*."""

    def __init__(
        self,
        api: Api,
        keys: Keys,
        seed: str,
        stop: threading.Event,
        *,
        writes: float = 0.3,
        pause: float = 0.004,
        creates: bool = True,
    ) -> None:
        super().__init__(name=api.who, daemon=True)
        self._api, self._keys, self._stop_event = api, keys, stop
        self._choice = random.Random(seed)
        self._writes, self._pause, self._creates = writes, pause, creates
        self._count = 0
        self._own: list[str] = []

    def run(self) -> None:
        while not self._stop_event.is_set():
            if self._choice.random() >= self._writes:
                self._api.read(self._keys.choose(self._choice))
            elif self._creates and self._choice.random() < 0.1:
                self._make_or_delete()
            else:
                self._change(self._keys.choose(self._choice))
            self._stop_event.wait(self._choice.uniform(0, 2 * self._pause))

    def _change(self, key: str) -> None:
        item = new_item(f"{self._api.who}-{self._number()}", self._choice)
        if self._choice.random() < 0.5:
            self._api.write("PUT", key, item)
        else:
            self._api.write("PATCH", key, {"name": item["name"]})

    def _make_or_delete(self) -> None:
        if len(self._own) < _OWN:
            key = self._api.create(new_item(f"{self._api.who}-{self._number()}", self._choice))
            if key:
                self._own.append(key)
                self._keys.short_lived.append(key)
                del self._keys.short_lived[:-_SHORT_LIVED]
        else:
            # Once only, also if the answer is lost: "absent" must be written once.
            self._api.write("DELETE", self._own.pop(0), None)

    def _number(self) -> int:
        self._count += 1
        return self._count


def new_item(name: str, choice: random.Random) -> dict[str, Any]:
    description = f"{name} " * (choice.randrange(2) * _LONG // (len(name) + 1))
    return {"name": name, "description": description, "price": choice.randrange(10**6) / 100}


def make_keys(api: Api, choice: random.Random, *, by_sql: bool, island: bool) -> Keys:
    """Store the items that the storm is about."""

    def make(kind: str, count: int) -> list[str]:
        made = [api.create(new_item(f"first {kind}-{n}", choice)) for n in range(count)]
        return [key for key in made if key]

    return Keys(
        hot=make("hot", 3),
        cold=make("cold", 50),
        by_sql=make("sql", 3) if by_sql else [],
        island=make("island", 3) if island else [],
    )


def clear(url: str) -> str:
    """POST /cache/clear; the status, or what went wrong."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)
    try:
        connection.request("POST", "/cache/clear")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def all_keys(record: Record) -> Sequence[str]:
    """Every key that was ever stored."""
    return list(dict.fromkeys(operation.key for operation in record.operations))
