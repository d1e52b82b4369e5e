"""A storm on one hot row: many clients read and PUT it, and every read is checked.

    python -m loadtest.hot_row --url http://127.0.0.1:8000 --seconds 15 --clients 12

A read is stale when the row that it answers is older than one whose PUT was
acknowledged before the read began. Exit 1 on a stale read or a failed request.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SAMPLE = "550e8400-e29b-41d4-a716-446655440001"


@dataclass
class Storm:
    """What the clients share, and what they found."""

    url: str
    item: str
    writes: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: updated_at of the newest acknowledged row. The server sets it under the row
    #: lock, so it orders the versions; ISO 8601 in UTC sorts as text.
    newest: str = ""
    reads: int = 0
    puts: int = 0
    stale: int = 0
    failed: int = 0

    def client(self, seed: int, until: float) -> None:
        choice = random.Random(seed)
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        while time.monotonic() < until:
            try:
                if choice.random() < self.writes:
                    self._put(connection, choice)
                else:
                    self._read(connection)
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                with self.lock:
                    self.failed += 1

    def _put(self, connection: http.client.HTTPConnection, choice: random.Random) -> None:
        body = {"name": "Hot row", "price": choice.randrange(1_000_000) / 100}
        version = self._request(connection, "PUT", json.dumps(body))
        with self.lock:
            self.puts += 1
            self.newest = max(self.newest, version)

    def _read(self, connection: http.client.HTTPConnection) -> None:
        with self.lock:
            newest = self.newest
        version = self._request(connection, "GET", None)
        with self.lock:
            self.reads += 1
            self.stale += version < newest

    def _request(
        self, connection: http.client.HTTPConnection, method: str, body: str | None
    ) -> str:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, f"/items/{self.item}", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise ValueError(f"{method} answered {response.status}")
        version: str = json.loads(answer)["updated_at"]
        return version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the API answers")
    parser.add_argument("--seconds", type=float, default=15, help="how long it lasts (15)")
    parser.add_argument("--clients", type=int, default=12, help="how many at a time (12)")
    parser.add_argument("--writes", type=float, default=30, help="percent of PUTs (30)")
    parser.add_argument("--item", default=SAMPLE, help="the id of the hot row")
    parser.add_argument("--seed", type=int, default=1, help="repeats the same choices (1)")
    options = parser.parse_args()
    storm = Storm(options.url, options.item, options.writes / 100)
    until = time.monotonic() + options.seconds
    clients = [
        threading.Thread(target=storm.client, args=(options.seed + n, until))
        for n in range(options.clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    sys.stdout.write(
        f"reads {storm.reads}  puts {storm.puts}  failed {storm.failed}  stale {storm.stale}\n"
    )
    return 1 if storm.stale or storm.failed or not storm.reads else 0


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the text above."""


if __name__ == "__main__":
    sys.exit(main())
