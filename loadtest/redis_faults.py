"""What is done to a Redis that runs on this host, and the wait until it is well again."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis

from itemsite.lab.redis_server import Redis
from loadtest.isolated_lab import wait_until

#: Makes a fault of a strength from 0 to 1.
Make = Callable[[float], str]
#: Seconds after which servers that are not well again have failed the storm.
PATIENCE: Final = 30


@contextmanager
def paused(pid: int | None, longer: float = 0.0) -> Iterator[None]:
    """Freeze the process, and for some seconds *longer*."""
    if pid is None:
        yield
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(longer)
    finally:
        os.kill(pid, signal.SIGCONT)


def client_of(server: Redis) -> redis.Redis:
    return redis.Redis(port=server.port, socket_timeout=10)


def length_of_pause(strength: float) -> float:
    """In seconds."""
    return 0.1 + 0.6 * strength


def pause(server: Redis, strength: float) -> str:
    with paused(server.pid):
        time.sleep(length_of_pause(strength))
    return f"{length_of_pause(strength) * 1000:.0f} ms"


def flush(client: redis.Redis) -> str:
    keys = client.dbsize()
    client.flushall()
    return f"{keys} keys"


def evict(client: redis.Redis, strength: float) -> str:
    def info(section: str) -> Any:
        return client.info(section)

    before = info("stats")["evicted_keys"]
    limit = int(info("memory")["used_memory"]) - int(20_000 + 120_000 * strength)
    client.config_set("maxmemory-policy", "volatile-lru")
    client.config_set("maxmemory", limit)
    time.sleep(0.5 + strength)
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    return f"{info('stats')['evicted_keys'] - before} keys evicted"


def leave_behind(primary: Redis, replica: Redis, strength: float) -> None:
    """Kill *primary* after it did things that *replica*, which may take over, has not heard of."""
    replica.pause()
    client_of(primary).client_kill_filter(_type="replica")
    time.sleep(0.3 + strength)
    primary.kill()
    replica.resume()


def then_well(make: Make, is_well: Callable[[], bool]) -> Make:
    """*make*, and wait until the servers are well."""

    def made(strength: float) -> str:
        done = make(strength)
        return done if is_well_soon(is_well) else f"{done}, NOT well after {PATIENCE} s"

    return made


def is_well_soon(is_well: Callable[[], bool]) -> bool:
    def well() -> bool:
        try:
            return is_well()
        except (redis.RedisError, StopIteration):
            return False

    return wait_until(well, PATIENCE)


def wait_well(is_well: Callable[[], bool]) -> None:
    if not is_well_soon(is_well):
        raise RuntimeError(f"The Redis servers were not well within {PATIENCE} s.")
