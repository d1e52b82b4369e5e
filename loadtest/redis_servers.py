"""The Redis of a storm: the lab's own, two behind Sentinels, or a cluster of six; and its faults.

Each fault is made, mended, and waited for. It returns what came of it, for people.
"""

import os
import random
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from itemsite.lab.redis_cluster import SLOTS, Cluster, Node
from itemsite.lab.redis_sentinel import Sentinel, pair, replicate
from itemsite.lab.redis_server import Redis
from loadtest.isolated_lab import IsolatedLab, wait_until
from loadtest.redis_faults import (
    PATIENCE,
    Make,
    client_of,
    evict,
    flush,
    leave_behind,
    length_of_pause,
    pause,
    paused,
    then_well,
    wait_well,
)

#: Longer than any pause, so that a pause is none: milliseconds until Sentinels act.
_DOWN_AFTER: Final = 1500
_SENTINELS: Final = 3


class Servers(ABC):
    """What a storm must know of its Redis."""

    #: The faults, and those after which the promise is a bound.
    NAMES: tuple[str, ...] = ()
    BOUNDED: tuple[str, ...] = ("pause",)
    #: Their ports, if clients are told these by the servers, and not by a setting alone.
    told: Sequence[int] = ()

    @abstractmethod
    def __init__(self, directory: Path) -> None: ...

    @abstractmethod
    def start(self) -> Mapping[str, str]:
        """Start them; returns what the lab must have in its environment."""

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def faults(self, lab: IsolatedLab) -> Mapping[str, Make]: ...


class Single(Servers):
    """The Redis that the lab starts."""

    NAMES = ("redis-empty", "redis-old", "pause", "flush", "evict")

    def __init__(self, directory: Path) -> None:
        pass

    def start(self) -> Mapping[str, str]:
        return {}

    def stop(self) -> None:
        pass

    def faults(self, lab: IsolatedLab) -> Mapping[str, Make]:
        self._lab = lab
        self._client = redis.Redis.from_url(lab.settings["REDIS_URL"], socket_timeout=10)
        return {
            "redis-empty": self._empty,
            "redis-old": self._old,
            "pause": self._pause,
            "flush": lambda strength: flush(self._client),
            "evict": lambda strength: evict(self._client, strength),
        }

    def _empty(self, strength: float) -> str:
        self._kill()
        self._lab.redis_dump.unlink(missing_ok=True)
        time.sleep(strength)
        return f"empty after {self._begin()} s"

    def _old(self, strength: float) -> str:
        self._client.save()
        saved = self._client.dbsize()
        time.sleep(0.3 + strength)
        self._kill()
        time.sleep(strength / 2)
        return f"{saved} keys of {0.3 + strength:.1f} s before, after {self._begin()} s"

    def _pause(self, strength: float) -> str:
        with paused(self._lab.redis_pid):
            time.sleep(length_of_pause(strength))
        return f"{length_of_pause(strength) * 1000:.0f} ms"

    def _kill(self) -> None:
        os.kill(self._lab.redis_pid, signal.SIGKILL)

    def _begin(self) -> str:
        began = time.monotonic()
        self._lab.lab("redis", "start")
        return f"{time.monotonic() - began:.1f}"


class Sentinels(Servers):
    """A Redis and its replica, and three Sentinels."""

    NAMES = ("redis-empty", "lag", "fail-over", "pause", "flush", "evict")
    #: For a moment after a fail-over, the former primary answers who has not heard of it.
    BOUNDED = ("pause", "fail-over")

    def __init__(self, directory: Path) -> None:
        self._redis = pair(directory)
        self._sentinels = [
            Sentinel(
                directory / f"sentinel{i}",
                "storm",
                self._redis[0].port,
                quorum=2,
                down_after=_DOWN_AFTER,
            )
            for i in range(_SENTINELS)
        ]
        self.told = [each.port for each in self._redis] + [each.port for each in self._sentinels]

    def start(self) -> Mapping[str, str]:
        primary, replica = self._redis
        primary.start()
        replica.start()
        replicate(replica, primary)
        for sentinel in self._sentinels:
            sentinel.start()
        wait_well(self._is_well)
        addresses = ",".join(f"127.0.0.1:{each.port}" for each in self._sentinels)
        return {"REDIS_URL": "redis://storm/0", "REDIS_SENTINELS": addresses}

    def stop(self) -> None:
        for server in (*self._sentinels, *self._redis):
            server.resume()
            server.kill()

    def faults(self, lab: IsolatedLab) -> Mapping[str, Make]:
        made = {
            "redis-empty": self._empty,
            "lag": self._lag,
            "fail-over": self._fail_over,
            "pause": lambda strength: pause(self._roles()[0], strength),
            "flush": lambda strength: flush(client_of(self._roles()[0])),
            "evict": lambda strength: evict(client_of(self._roles()[0]), strength),
        }
        return {name: then_well(make, self._is_well) for name, make in made.items()}

    def _roles(self) -> tuple[Redis, Redis]:
        """The primary and the replica, as the Sentinels say."""
        one, other = self._redis
        return (one, other) if self._sentinels[0].primary() == one.port else (other, one)

    def _is_well(self) -> bool:
        primary, replica = self._roles()
        return (
            all(each.primary() == primary.port for each in self._sentinels)
            and all(each.knows_replica() for each in self._sentinels)
            and all(each.knows(_SENTINELS - 1) for each in self._sentinels)
            and client_of(primary).info("replication")["role"] == "master"
            and client_of(replica).info("replication").get("master_link_status") == "up"
        )

    def _empty(self, strength: float) -> str:
        primary, _ = self._roles()
        primary.kill()
        time.sleep(strength)
        primary.start()
        return f"empty after {strength:.1f} s"

    def _lag(self, strength: float) -> str:
        primary, replica = self._roles()
        leave_behind(primary, replica, strength)
        wait_until(lambda: self._roles()[0] is replica, PATIENCE)
        primary.start()
        return f"a replica {0.3 + strength:.1f} s behind took over"

    def _fail_over(self, strength: float) -> str:
        _, replica = self._roles()
        wait_until(self._sentinels[0].fail_over, PATIENCE)
        done = wait_until(lambda: self._roles()[0] is replica, PATIENCE)
        return "the replica took over" if done else "NOT failed over"


class RedisCluster(Servers):
    """Three primaries and three replicas."""

    NAMES = ("redis-empty", "lag", "fail-over", "pause", "flush", "evict", "move")

    def __init__(self, directory: Path) -> None:
        self._cluster = Cluster(directory)
        self.told = [node.port for node in self._cluster.nodes]
        self._choice = random.Random("cluster")

    def start(self) -> Mapping[str, str]:
        self._cluster.start()
        first, *others = self.told
        return {
            "REDIS_URL": f"redis://127.0.0.1:{first}/0",
            "REDIS_CLUSTER": ",".join(f"127.0.0.1:{port}" for port in others),
        }

    def stop(self) -> None:
        self._cluster.stop()

    def faults(self, lab: IsolatedLab) -> Mapping[str, Make]:
        made = {
            "redis-empty": self._empty,
            "lag": self._lag,
            "fail-over": self._fail_over,
            "pause": lambda strength: pause(self._one(), strength),
            "flush": lambda strength: flush(self._one().client),
            "evict": lambda strength: evict(self._one().client, strength),
            "move": self._move,
        }
        return {name: then_well(make, self._cluster.is_well) for name, make in made.items()}

    def primary_pids(self) -> list[int]:
        return [node.pid for node in self._cluster.primaries() if node.pid]

    @contextmanager
    def without_a_primary(self) -> Iterator[None]:
        """One is killed; its replica takes over. After the block, all are well again."""
        node = self._one()
        node.kill()
        try:
            yield
        finally:
            node.start()
            wait_well(self._cluster.is_well)

    def _one(self) -> Node:
        return self._choice.choice(self._cluster.primaries())

    def _empty(self, strength: float) -> str:
        node = self._one()
        node.kill()
        (node.directory / "dump.rdb").unlink(missing_ok=True)
        # Its replica takes over if it is away for more than a second or so.
        time.sleep(2 * strength)
        node.start()
        return f"one node, empty after {2 * strength:.1f} s"

    def _lag(self, strength: float) -> str:
        node = self._one()
        replica = self._cluster.replica_of(node)
        leave_behind(node, replica, strength)
        wait_until(replica.is_primary, PATIENCE)
        node.start()
        return f"a replica {0.3 + strength:.1f} s behind took over"

    def _fail_over(self, strength: float) -> str:
        replica = self._cluster.replica_of(self._one())
        replica.ask("CLUSTER", "FAILOVER")
        done = wait_until(replica.is_primary, PATIENCE)
        return "a replica took over" if done else "NOT failed over"

    def _move(self, strength: float) -> str:
        """Move a part of a node's slots that are used, one after the other, to another node."""
        here, there = self._choice.sample(self._cluster.primaries(), 2)
        with here.client.pipeline(transaction=False) as counting:
            for slot in range(SLOTS):
                counting.execute_command(  # type: ignore[no-untyped-call]
                    "CLUSTER COUNTKEYSINSLOT", slot
                )
            of_here = [slot for slot, keys in enumerate(counting.execute()) if keys]
        moved = self._choice.sample(of_here, min(len(of_here), 1 + round(20 * strength)))
        for slot in moved:
            self._cluster.move(slot, there)
        return f"{len(moved)} of {len(of_here)} slots with keys"


KINDS: Final[Mapping[str, type[Servers]]] = {
    "single": Single,
    "sentinel": Sentinels,
    "cluster": RedisCluster,
}
