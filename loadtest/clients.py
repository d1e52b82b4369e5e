"""Clients of the storm: they read and write items and pages of them, and record what they see.

The name of an item is its value: every write gives it its own name.
"""

import http.client
import json
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from loadtest.history import ABSENT
from loadtest.lists import ListRead
from loadtest.record import Failure, Record, now

_DECODER: Final = json.JSONDecoder()
_TIMEOUT: Final = 20.0
#: Requests on one connection; then another worker may get the client.
_PER_CONNECTION: Final = 40
#: New items that one client keeps before it deletes its oldest.
_OWN: Final = 3
#: Deleted items are read a little longer.
_SHORT_LIVED: Final = 24
#: The longest page that the API gives: of a short storm it has all rows.
MOST: Final = 100
#: Of the pages, the share of each limit. The newest few change most.
_LIMITS: Final = (10, 10, 10, 50, 50, MOST)
#: In the first part of each period, in nanoseconds, hardly anybody writes: no page can be cached
#: while somebody does, and what is never cached cannot be stale.
_PERIOD: Final = 2_000_000_000
_CALM: Final = 1_000_000_000
#: Of what a client does, the share of writes, and of its reads, that of pages.
_SHARES: Final = (0.4, 0.1)
_SHARES_IN_CALM: Final = (0.02, 0.5)
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
    #: Also made and deleted by SQL.
    made_by_sql: list[str] = field(default_factory=list)

    def add(self, *keys: str) -> None:
        """New ones that will not live long."""
        self.short_lived.extend(keys)
        del self.short_lived[:-_SHORT_LIVED]

    def choose(self, choice: random.Random) -> str:
        kind = choice.random()
        if kind < 0.5 or not self.cold:
            return choice.choice(self.hot)
        if kind < 0.75:
            return choice.choice(self.cold)
        kinds = [keys for keys in (self.by_sql, self.island, self.short_lived) if keys]
        # A copy: others add to it and delete from it.
        return choice.choice(tuple(choice.choice(kinds) if kinds else self.cold))


class Api:
    """One connection to a server, as one client; records every request."""

    def __init__(self, url: str, record: Record, who: str, *, cut_off: bool = False) -> None:
        """*cut_off*: the server loses Redis now and then."""
        self._server, self._cut_off = urlsplit(url).netloc, cut_off
        self._record = record
        self.who = who
        self._used = 0
        self._connection = http.client.HTTPConnection(self._server, timeout=_TIMEOUT)

    def read(self, key: str) -> str | None:
        """The value of *key*; ``None`` when the request failed."""
        start = now()
        status, body, headers = self._request("GET", f"/items/{key}", None)
        if status not in (200, 404):
            return None
        self._record.reads.append((start, now()))
        self._record.cache(headers.get("X-Cache", "none"))
        value = ABSENT if status == 404 else str(json.loads(body)["name"])
        self._record.read(key, value, start, f"GET {self.who}")
        if status == 200:
            self._record.row(key, value, body)
        return value

    def read_list(self, limit: int) -> Sequence[tuple[str, str]] | None:
        """Keys and values of the newest *limit* rows; ``None`` when the request failed."""
        who, start = f"GET ?limit={limit} {self.who}", now()
        status, body, headers = self._request("GET", f"/items?limit={limit}", None)
        if status != 200:
            return None
        end = now()
        self._record.list_cache(headers.get("X-Cache", "none"))
        rows = []
        for row, text in rows_in(body):
            key, value = str(row["id"]), str(row["name"])
            rows.append((key, value))
            self._record.created(key, row["created_at"])
            self._record.row(key, value, text)
        more = json.loads(body)["next"] is not None
        self._record.page(ListRead(limit, tuple(rows), more, start, end, who, self._cut_off))
        return rows

    def write(self, method: str, key: str, item: dict[str, Any] | None) -> bool:
        """PUT, PATCH or DELETE; whether it was acknowledged."""
        value = ABSENT if item is None else str(item["name"])
        who, start = f"{method} {self.who}", now()
        status, body, _ = self._request(method, f"/items/{key}", item)
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
        """POST; the new key, unless it was not acknowledged."""
        who, start = f"POST {self.who}", now()
        status, body, _ = self._request("POST", "/items", item)
        if status != 201:
            self._record.unanswered_creates([str(item["name"])], start, who)
            return None
        row = json.loads(body)
        key = str(row["id"])
        self._record.write(key, str(item["name"]), start, who)
        self._record.created(key, row["created_at"])
        self._record.row(key, str(item["name"]), body)
        return key

    def _request(
        self, method: str, path: str, item: dict[str, Any] | None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        start = now()
        self._used += 1
        if self._used % _PER_CONNECTION == 0:
            self._connection.close()
        try:
            self._connection.request(
                method,
                path,
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
        pause: float = 0.004,
        creates: bool = True,
    ) -> None:
        super().__init__(name=api.who, daemon=True)
        self._api, self._keys, self._stop_event = api, keys, stop
        self._choice = random.Random(seed)
        self._pause, self._creates = pause, creates
        self._count = 0
        self._own: list[str] = []

    def run(self) -> None:
        while not self._stop_event.is_set():
            writes, lists = _SHARES_IN_CALM if is_calm() else _SHARES
            if self._choice.random() >= writes:
                self._read(lists)
            elif self._creates and self._choice.random() < 0.1:
                self._make_or_delete()
            else:
                self._change(self._keys.choose(self._choice))
            self._stop_event.wait(self._choice.uniform(0, 2 * self._pause))

    def _read(self, lists: float) -> None:
        if self._choice.random() < lists:
            self._api.read_list(self._choice.choice(_LIMITS))
        else:
            self._api.read(self._keys.choose(self._choice))

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
                self._keys.add(key)
        else:
            # Once only, also if the answer is lost: "absent" must be written once.
            self._api.write("DELETE", self._own.pop(0), None)

    def _number(self) -> int:
        self._count += 1
        return self._count


def is_calm() -> bool:
    """Whether writers should hold back just now; the same for all of them."""
    return now() % _PERIOD < _CALM


def rows_in(page: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The rows on a page, and the bytes of each."""
    text = page.decode()
    at = text.index('"items"')
    at = text.index("[", at) + 1
    while text[at] != "]":
        row, end = _DECODER.raw_decode(text, at)
        yield row, text[at:end].encode()
        at = end
        while text[at] in ", ":
            at += 1


def new_item(name: str, choice: random.Random) -> dict[str, Any]:
    description = f"{name} " * (choice.randrange(2) * _LONG // (len(name) + 1))
    return {"name": name, "description": description, "price": choice.randrange(10**6) / 100}


def make_keys(api: Api, choice: random.Random, *, by_sql: bool, island: bool) -> Keys:
    """Store the items that the storm is about; the hot ones last, because pages show the newest."""

    def make(kind: str, count: int) -> list[str]:
        made = [api.create(new_item(f"first {kind}-{n}", choice)) for n in range(count)]
        return [key for key in made if key]

    return Keys(
        cold=make("cold", 50),
        by_sql=make("sql", 3) if by_sql else [],
        island=make("island", 3) if island else [],
        hot=make("hot", 3),
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
