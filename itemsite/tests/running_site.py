"""Gunicorn on a real Postgres and a real Redis, for tests that stop, kill and watch them."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import psycopg

from itemsite.environment import for_child
from itemsite.lab.account import Account
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.ports import free_port
from itemsite.lab.postgres import Postgres
from itemsite.lab.redis_server import Redis
from itemsite.lab.web import Web

HOT = "/items/550e8400-e29b-41d4-a716-446655440001"
COLD = "/items/550e8400-e29b-41d4-a716-446655440002"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Site:
    """Gunicorn with two workers, a Postgres and a Redis, which nothing else uses."""

    def __init__(self, folder):
        self.postgres = Postgres(folder / "postgres", free_port())
        self.redis = Redis(folder / "redis", free_port(), persistent=False)
        self._folder = folder
        self._started = [self.redis, self.postgres]

    def start(self):
        self.postgres.start()
        self.redis.start()
        environment = {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "SECRET_KEY": "of these tests",
            "LAB": "1",
        }
        prepare = [sys.executable, "-m", "itemsite.lab.prepare"]
        subprocess.run(
            prepare, cwd=ROOT, env=for_child(environment), input=b"secret", check=True, timeout=60
        )
        self.web = Web(self._folder / "web", free_port(), environment)
        self._started.insert(0, self.web)
        self.web.start()

    def stop(self):
        for server in self._started:
            server.stop()

    def ask(self, method, path, body=None):
        connection = HTTPConnection("127.0.0.1", self.web.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read().decode())
        finally:
            connection.close()

    def get(self, path):
        return self.ask("GET", path)

    def is_well(self):
        """Whether /health says so, asked often enough that both workers were."""
        return all(
            self.get("/health").json["status"] == "ok"
            and self.get("/health").json["cache"]["gate"]["state"] == "closed"
            for _ in range(10)
        )

    def rows(self):
        with psycopg.connect(self.postgres.url) as connection:
            return sorted(connection.execute("SELECT id, name, price FROM items").fetchall())


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.05)


@contextmanager
def running_site(tmp_path_factory) -> Iterator[Site]:
    """A site in a separate folder, running."""
    folder = tmp_path_factory.mktemp("site")
    if Account.for_directory(folder):
        # Postgres runs as somebody else then, who must get through to its data.
        for path in (folder, *folder.parents[:2]):
            path.chmod(0o711)
    site = Site(folder)
    try:
        site.start()
        yield site
    finally:
        site.stop()
