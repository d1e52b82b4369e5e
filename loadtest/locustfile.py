"""People who use the items API, for Locust.

    locust -f loadtest/locustfile.py                    # and choose in the browser
    locust -f loadtest/locustfile.py --headless --users 20 --run-time 60s
    locust -f loadtest/locustfile.py --headless --processes 2 --tags read

``--users`` and ``--run-time`` are the size and the length of the run that ``RedisOutage``
divides into stages; with ``--plain`` (in the browser: shape "Default") there are no
stages, only load. Exit code 1: too many requests failed, they took too long, or a read
was stale.
"""

import logging
import random
import signal
import sys
from pathlib import Path
from typing import Any, Final

from locust import FastHttpUser, between, events, tag, task
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

# Locust puts the folder of this file on the path, which is not where loadtest is found.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from loadtest import locust_options
from loadtest.redis_outage import RedisOutage
from loadtest.rows import Rows
from loadtest.thresholds import STALE, Thresholds

ROW: Final = "/items/[id]"
_USERS, _SECONDS = 40, 180
#: Rows that a writer keeps before it deletes its oldest.
_OWN: Final = 5

logger = logging.getLogger("loadtest")
#: Of this process.
rows = Rows()


class Person(FastHttpUser):
    """What all have in common."""

    abstract = True
    host = "http://127.0.0.1:8000"
    wait_time = between(0.05, 0.3)
    connection_timeout = network_timeout = 15.0

    def __init__(self, environment: Environment) -> None:
        if token := getattr(environment.parsed_options, "api_token", ""):
            self.default_headers = {"Authorization": f"Token {token}"}
        super().__init__(environment)

    def read(self, key: str, etag: str = "") -> None:
        """GET of a row, which fails if *etag* is given and is not the row's."""
        with self.client.get(f"/items/{key}", name=ROW, catch_response=True) as answer:
            headers = answer.headers or {}
            if outcome := headers.get("X-Cache"):
                answer.request_meta["name"] = f"{ROW} {outcome.lower()}"
            if etag and answer.status_code == 404:
                answer.failure(f"{STALE}: there is no row, although it was written")
            elif etag and answer.status_code == 200 and headers.get("ETag") != etag:
                answer.failure(f"{STALE}: not the row that was written last")
            elif answer.status_code == 404 and key not in rows.hot:
                # Somebody has deleted it since it was listed.
                answer.success()

    def create(self) -> tuple[str, str] | None:
        """A new row: its id and ETag."""
        answer = self.client.post("/items", json=_item())
        if answer.status_code != 201:
            return None
        key = str(answer.json()["id"])
        rows.made.add(key)
        return key, _etag(answer)

    def delete(self, key: str) -> None:
        if self.client.delete(f"/items/{key}", name=ROW).status_code == 204:
            rows.made.discard(key)


class Reader(Person):
    """Reads hot rows: the samples, and what editors work on."""

    weight = 12

    @tag("read")
    @task
    def read_hot_row(self) -> None:
        # The first is read twice as often as the second, and so on.
        weights = [1 / n for n in range(1, len(rows.hot) + 1)]
        self.read(*random.choices(rows.hot, weights))


class Browser(Person):
    """Looks at lists, turns pages and opens what it finds."""

    weight = 4

    @tag("read", "list")
    @task
    def browse(self) -> None:
        path = f"/items?limit={random.choice([5, 10, 20])}"
        name = "/items?limit=[n]"
        for _ in range(random.randint(1, 3)):
            answer = self.client.get(path, name=name)
            if answer.status_code != 200:
                return
            page = answer.json()
            for item in random.sample(page["items"], min(2, len(page["items"]))):
                self.read(item["id"])
                self.wait()
            if page["next"] is None:
                return
            path = str(page["next"])
            name = "/items?cursor=[cursor]"


class Writer(Person):
    """Makes rows, changes them, deletes them."""

    weight = 2

    def on_start(self) -> None:
        self._own: list[str] = []

    @tag("write")
    @task(3)
    def make(self) -> None:
        if len(self._own) >= _OWN:
            self.delete(self._own.pop(0))
        elif made := self.create():
            self._own.append(made[0])

    @tag("write")
    @task(2)
    def change(self) -> None:
        if not self._own:
            return self.make()
        key = random.choice(self._own)
        self.client.patch(f"/items/{key}", json={"price": _price()}, name=ROW)
        return None


class Editor(Person):
    """Works on its own row, which others read, and checks that it reads what it wrote."""

    weight = 2

    def on_start(self) -> None:
        self._key = ""

    @tag("write", "read", "check")
    @task
    def edit_and_look(self) -> None:
        etag = self._write()
        # Nobody else writes this row: whatever is read now must be this very version.
        for _ in range(random.randint(1, 3) if etag else 0):
            self.read(self._key, etag)

    def on_stop(self) -> None:
        self._leave()

    def _write(self) -> str:
        """The ETag of what was written; empty when it was not acknowledged."""
        if self._key:
            method = random.choice([self.client.put, self.client.patch])
            answer = method(f"/items/{self._key}", json=_item(), name=ROW)
            if answer.status_code == 200:
                return _etag(answer)
            # It may still be carried out, after what is written next.
            self._leave()
        elif made := self.create():
            self._key, etag = made
            rows.hot.append(self._key)
            return etag
        return ""

    def _leave(self) -> None:
        if self._key:
            rows.hot.remove(self._key)
            self._key = ""


def _etag(answer: FastResponse) -> str:
    return str(answer.headers["ETag"]) if answer.headers else ""


def _item() -> dict[str, Any]:
    return {"name": f"Load test {random.randrange(10_000)}", "price": _price()}


def _price() -> float:
    return random.randrange(100, 10_000) / 100


events.init_command_line_parser.add_listener(locust_options.add)


@events.init.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is None or isinstance(environment.runner, WorkerRunner):
        return
    _leave_out_idlers(environment, set(options.tags or ()), set(options.exclude_tags or ()))
    # A headless Locust listens to SIGTERM only after its run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.plain:
        environment.shape_class = None
        return
    # Without a number, Locust would take 1.
    options.num_users = options.num_users or _USERS
    options.run_time = options.run_time or _SECONDS


def _leave_out_idlers(environment: Environment, tags: set[str], without: set[str]) -> None:
    """Without this, a person for whom the tags leave nothing to do is an error."""
    available: dict[str, Any] = environment.available_user_classes or {}
    for name, person in list(available.items()):
        sets: list[set[str]] = [getattr(job, "locust_tag_set", set()) for job in person.tasks]
        if not any((not tags or found & tags) and not found & without for found in sets):
            del available[name]
            if person in environment.user_classes:
                environment.user_classes.remove(person)


@events.test_start.add_listener
def _find_hot_rows(environment: Environment, **_: Any) -> None:
    if not isinstance(environment.runner, MasterRunner):
        token = getattr(environment.parsed_options, "api_token", "")
        rows.find(environment.host or Person.host, token)


@events.test_stop.add_listener
def _leave_nothing_behind(environment: Environment, **_: Any) -> None:
    if isinstance(environment.shape_class, RedisOutage):
        environment.shape_class.end()
    if not isinstance(environment.runner, MasterRunner):
        rows.delete()


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    options, total = environment.parsed_options, environment.stats.total
    if options is None or isinstance(environment.runner, WorkerRunner):
        return
    errors = environment.stats.errors.values()
    broken = Thresholds(options.max_fail_ratio, options.max_p95).broken(
        requests=total.num_requests,
        fail_ratio=total.fail_ratio,
        p95=total.get_response_time_percentile(0.95),
        stale=sum(error.occurrences for error in errors if STALE in str(error.error)),
    )
    if isinstance(environment.shape_class, RedisOutage):
        broken += environment.shape_class.failed
    for sentence in broken:
        logger.error("Gate: %s", sentence)
    if broken:
        environment.process_exit_code = 1
    elif environment.runner and not environment.runner.exceptions:
        # Locust's own rule is that one failed request is too many.
        environment.process_exit_code = 0
