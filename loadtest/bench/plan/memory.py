"""Bytes of each kind of key, from what a Redis says that it uses with a million of them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import redis

from loadtest.bench.say import say
from loadtest.isolated_lab import free_port, wait_until

#: Bytes of JSON.
SIZES: Final = (100, 330, 1000, 4000)
_OF_DOCUMENTS: Final = (330, 4000)
#: Rows of this size are also measured ten times as many, if there is memory for them.
_MIDDLE: Final = 330
_STAMPS_OF_DOCUMENT: Final = 5
#: Keys that one script sets: Redis does nothing else meanwhile.
_AT_ONCE: Final = 10_000
#: Of the memory that is free now; others need some, too.
_SHARE: Final = 0.5
#: As the cache layer stores them: by SET in a script, with a lifetime but for marks. ARGV: first
#: and last number, the format of a key, the value, the lifetime in ms or nothing.
POPULATE: Final = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local key = string.format(ARGV[3], number)
  if ARGV[5] == '' then
    redis.call('SET', key, ARGV[4])
  else
    redis.call('SET', key, ARGV[4], 'PX', ARGV[5] + number % 30000)
  end
end
"""
_LIFETIME_MS: Final = "3600000"
_UUID: Final = "item:00000000-0000-4000-8000-%012x"
STAMP: Final = "v:0123456789abcdef:1764316800000"


@dataclass(frozen=True, slots=True)
class Kind:
    """Keys of one kind: a format for the key with a number, the value, and its bytes of JSON."""

    name: str
    key: str
    value: str
    json: int = 0
    lifetime: str = _LIFETIME_MS


def kinds() -> list[Kind]:
    """Rows and documents of several sizes, a stamp, a mark and a lease."""
    stamps = {f"@shop_author.id:{1_000_000 + n}": STAMP for n in range(_STAMPS_OF_DOCUMENT)}
    head = "d:{" + ",".join(f'"{key}":"{value}"' for key, value in stamps.items()) + "}\n"
    return [
        *(Kind("row", _UUID, "{" * size, size) for size in SIZES),
        *(Kind("document of 5 stamps", _UUID, head + "{" * size, size) for size in _OF_DOCUMENTS),
        Kind("stamp", "@shop_author.id:%d", STAMP),
        Kind("mark", _UUID, "w:0123456789abcdef:1234567890", lifetime=""),
        Kind("lease", _UUID, "r:0123456789abcdef"),
    ]


def measure(executable: str, directory: Path, keys: int) -> dict[str, Any]:
    """Bytes of one key of each kind, with *keys* of them, and of a row with ten times as many."""
    with _server(executable, directory) as cache:
        found = [_measured(cache, kind, keys) for kind in kinds()]
        lines = formulas(found)
        more = [
            many(cache, kind, keys * 10, found)
            for kind in kinds()
            if (kind.name, kind.json) == ("row", _MIDDLE)
        ]
        version = str(cache.info("server")["redis_version"])
    return {"redis": version, "kinds": found, "formulas": lines, "many": more}


def many(cache: Any, kind: Kind, keys: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Bytes of one of *keys* keys; of fewer, from *found*, if there is no memory for them."""
    [one] = [each for each in found if (each["kind"], each["json"]) == (kind.name, kind.json)]
    if one["bytes"] * keys > psutil.virtual_memory().available * _SHARE:
        say(f"There is no memory for {keys:,} keys of the kind {kind.name}: it is extrapolated.")
        return {**one, "keys": keys, "extrapolated": True}
    return _measured(cache, kind, keys)


def _measured(cache: Any, kind: Kind, keys: int) -> dict[str, Any]:
    say(f"{keys:,} keys: {kind.name} {kind.json or ''}")
    cache.flushall(asynchronous=True)
    before = _used(cache)
    for first in range(1, keys + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, keys)
        cache.eval(POPULATE, 0, first, last, kind.key, kind.value, kind.lifetime)
    held = int(cache.dbsize())
    if held != keys:
        raise RuntimeError(f"Redis holds {held} of {keys} keys. Has it too little memory?")
    used = (_used(cache) - before) / keys
    return {
        "kind": kind.name,
        "json": kind.json,
        "keys": keys,
        "bytes": round(used, 1),
        "extrapolated": False,
    }


def _used(cache: Any) -> int:
    """Once the hash tables have their sizes: Redis moves them while it has nothing to do."""
    sizes: list[int] = []

    def is_settled() -> bool:
        sizes.append(int(cache.info("memory")["used_memory"]))
        time.sleep(0.2)
        return len(sizes) >= 3 and max(sizes[-3:]) - min(sizes[-3:]) < 10_000

    wait_until(is_settled, 30)
    return sizes[-1]


def formulas(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By kind: bytes of a key = ``each`` + ``of_json`` for each byte of JSON."""
    lines = {}
    for name in ("row", "document of 5 stamps"):
        points = [(each["json"], each["bytes"]) for each in found if each["kind"] == name]
        # So that small rows, of which there are many, count as much as large ones.
        slope, intercept = _least_relative_error(points)
        lines[name] = {"each": round(intercept, 1), "of_json": round(slope, 3)}
    return lines


def _least_relative_error(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Slope and intercept of y = a + b·x, with errors as shares of y: y/x = b + a/x, by 1/y."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    pairs = zip(weights, points, strict=True)
    top = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in pairs)
    below = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    return top / below, mean_y - top / below * mean_x


@contextmanager
def _server(executable: str, directory: Path) -> Iterator[Any]:
    """A Redis that saves nothing."""
    port, folder = free_port(), directory / "redis-of-plan"
    folder.mkdir()
    # One program has several names, and does what it is called.
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with subprocess.Popen(
        command, executable=executable, cwd=folder, stdout=subprocess.DEVNULL
    ) as process:
        try:
            cache: Any = redis.Redis(port=port, socket_timeout=120)
            if not wait_until(lambda: _answers(cache), 20):
                raise RuntimeError("The Redis that is to be measured does not start.")
            yield cache
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _answers(cache: Any) -> bool:
    try:
        return bool(cache.ping())
    except redis.RedisError:
        return False
