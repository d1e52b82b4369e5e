"""What the benchmark measures, running: a separate lab, and the peers beside it."""

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
import redis

from loadtest.bench import wrk
from loadtest.bench.peer_servers import KEYS, LAB, PEERS
from loadtest.bench.wrk import Load
from loadtest.isolated_lab import IsolatedLab, Served, wait_until

#: Rows that hits read, and rows that writes change: apart, so that a write warms no read.
HOT: Final = Load("get", first=1, count=2000)
WRITTEN: Final = Load("put", first=5001, count=2000)
#: Walks over the rows until all are cached: a busy machine may miss some.
_PASSES: Final = 6
_INSERT: Final = """
    INSERT INTO items (id, name, description, price, created_at, updated_at)
    SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Item ' || n,
           repeat('Two boilers, one group. ', %s), n %% 10000 + 0.25,
           now() - n * interval '1 second', now()
    FROM generate_series(%s::int, %s::int) AS n
    ON CONFLICT DO NOTHING
"""


class Testbed:
    """A lab with *rows* rows, in *directory*, and the peers that were asked for.

    *settings* go into the environment of the lab.
    """

    def __init__(self, directory: Path, rows: int, **settings: str) -> None:
        self._directory, self.rows = directory, rows
        # Traces as a server makes them, and not all of them, as a lab does.
        self.lab = IsolatedLab(
            directory,
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0.01",
            # The kernel shares connections out. Otherwise a worker that wakes first may take
            # all of a burst, and then one core is measured.
            GUNICORN_CMD_ARGS="--reuse-port",
            **settings,
        )
        self._peers: dict[str, Served] = {}

    def start(self) -> None:
        self.lab.start()
        self.fill_tables(self.rows)

    def stop(self) -> None:
        self.lab.stop()

    @property
    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(self.lab.settings["REDIS_URL"])

    def stop_peers(self) -> None:
        """End all but the lab: also a server that idles takes a share of the processor."""
        self.lab.stop_served()
        self._peers.clear()

    @contextmanager
    def postgres(self) -> Iterator["psycopg.Connection[Any]"]:
        """A connection whose writes the cache does not follow: nothing is cached yet."""
        with psycopg.connect(
            self.lab.settings["DATABASE_URL"], autocommit=True, options="-c cachelayer.own=on"
        ) as connection:
            yield connection

    def fill_tables(self, rows: int, first: int = 1, words: int = 4) -> None:
        """Rows number *first* to *rows* in the lab's table, and all of it in the peers' copy."""
        with self.postgres() as connection:
            connection.execute(_INSERT, [words, first, rows])
            connection.execute("CREATE TABLE IF NOT EXISTS bench_items (LIKE items INCLUDING ALL)")
            connection.execute("INSERT INTO bench_items TABLE items ON CONFLICT DO NOTHING")
            connection.execute("VACUUM ANALYZE items")
            connection.execute("VACUUM ANALYZE bench_items")

    def peer(self, name: str) -> Served:
        """The peer *name*, started when it is first asked for."""
        if name == "lab":
            return self.lab.web
        if name not in self._peers:
            self._peers[name] = self._serve(name)
        return self._peers[name]

    def lab_with(self, name: str, **changes: str) -> Served:
        """The lab's application once more, with other settings in its environment."""
        return self.lab.serve(
            name, LAB, {"PROMETHEUS_MULTIPROC_DIR": self._folder(name), **changes}
        )

    def servers(self) -> dict[str, list[int]]:
        """The processes that serve all alike; of a server that is away, none."""
        found: dict[str, list[int]] = {"postgres": [self.lab.postgres_pid], "redis": []}
        with suppress(FileNotFoundError):
            found["redis"].append(self.lab.redis_pid)
        return found

    def _serve(self, name: str) -> Served:
        peer = PEERS[name]
        folder = {"PROMETHEUS_MULTIPROC_DIR": self._folder(name)} if peer.has_metrics else {}
        return self.lab.serve(name, peer.command, {**folder, **peer.settings}, module=peer.module)

    def _folder(self, name: str) -> str:
        folder = self._directory / f"metrics-{name}"
        folder.mkdir(exist_ok=True)
        return str(folder)

    def warm(self, name: str, load: Load = HOT) -> None:
        """Have the rows of *load* in the cache of *name*; ``RuntimeError`` if many are not."""
        begin = KEYS[name]
        numbers = range(load.first, load.first + load.count)
        keys = [f"{begin}00000000-0000-4000-8000-{number:012x}" for number in numbers]
        cached = 0
        for _ in range(_PASSES):
            walked = 0
            while walked < load.count:
                rest = Load("walk", load.first + walked, load.count - walked, load.path)
                walked += wrk.once(self.peer(name), rest, 1).requests
            cached = int(self.redis.exists(*keys))
            # A peer that has nothing behind Redis refuses the others, and a run of which a
            # hundredth was refused does not count.
            if cached >= len(keys) * 0.998:
                return
        # Not all: five minutes after they were cached together they expire within half a
        # minute, some while the others are cached again.
        if cached < len(keys) * 0.95:
            raise RuntimeError(f"{name} does not cache its rows; is Redis overloaded?")

    def clear(self) -> None:
        """Empty the lab's cache, as a client does."""
        request = urllib.request.Request(f"{self.lab.url}/cache/clear", method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            answer.read()

    def get(self, path: str, served: Served | None = None) -> bytes:
        """What *served*, or else the lab, answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open((served or self.lab).url + path, timeout=60) as answer:
            return bytes(answer.read())

    def outcome(self, path: str) -> str:
        """``HIT``, ``MISS`` or ``BYPASS``: how the lab has answered a new connection."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.lab.url + path, timeout=60) as answer:
            return str(answer.headers["X-Cache"])

    def counts(self) -> dict[str, int]:
        """The lab's reads so far, by outcome."""
        time.sleep(1.2)  # A process adds its own to the totals once a second.
        stats = orjson.loads(self.get("/cache/stats"))
        return {name: stats[f"total_{name}"] or 0 for name in ("hits", "misses", "bypasses")}

    @contextmanager
    def without_redis(self) -> Iterator[None]:
        """Redis is stopped inside the block; after it, the lab trusts it again."""
        self.lab.lab("redis", "stop")
        try:
            yield
        finally:
            self.lab.lab("redis", "start")
            wait_until(self._is_closed, 30)

    def _is_closed(self) -> bool:
        stats = orjson.loads(self.get("/cache/stats"))
        return bool(stats["redis"] == "ok" and stats["gate"]["state"] == "closed")

    def manage(self, *arguments: str) -> "Command":
        """Run a management command of the lab; its time and its memory."""
        started = time.monotonic()
        output = self.lab.lab("manage", *arguments)
        return Command(time.monotonic() - started, output)


class Command:
    """What a command took (seconds), and what it printed."""

    def __init__(self, seconds: float, output: str) -> None:
        self.seconds, self.output = seconds, output


def versions() -> dict[str, str]:
    """Of what was measured."""
    wanted = (
        *("django", "djangorestframework", "redis", "hiredis", "psycopg", "gunicorn", "fastapi"),
        *("django-bolt", "django-cacheops", "django-cachalot", "locust"),
    )
    found = {}
    for name in wanted:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
