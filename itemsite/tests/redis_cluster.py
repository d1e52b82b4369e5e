"""A real Redis Cluster of three primaries and three replicas: ``redis_cluster``.

``redis-cli --cluster`` is not everywhere, so the nodes are put together by commands.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from cachelayer.redis import cluster, shards
from cachelayer.tests.fresh import end_reconcile, trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.ports import free_port
from itemsite.lab.redis_server import Redis
from itemsite.tests.documented import DOCS, blocks

_PRIMARIES: Final = 3
#: Milliseconds until the others take a node for dead.
_TIMEOUT: Final = 1000


class Node(Redis):
    """A node of a cluster, and what tests do to it."""

    def __init__(self, directory: Path, *, require_full: bool = False) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(_TIMEOUT)]
        options += ["--cluster-require-full-coverage", "yes" if require_full else "no"]
        # A replica that lags takes over all the same, and soon.
        options += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]
        options += ["--cluster-port", str(free_port())]
        super().__init__(directory, free_port(), persistent=True, options=options)
        self.cluster_port = int(options[-1])
        self._client: redis.Redis | None = None

    @property
    def client(self) -> redis.Redis:
        """A client of this node alone, which follows no redirection."""
        if self._client is None:
            self._client = redis.Redis(port=self.port, socket_timeout=5)
        return self._client

    def ask(self, *command: Any) -> Any:
        return self.client.execute_command(*command)

    def id(self) -> str:
        return str(self.ask("CLUSTER", "MYID").decode())

    def info(self, name: str) -> Any:
        return self.client.info().get(name)

    def is_primary(self) -> bool:
        return bool(self.info("role") == "master")

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


class Cluster:
    """Six nodes; ``nodes[i + 3]`` is at first the replica of ``nodes[i]``."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [Node(directory / f"node{i}") for i in range(2 * _PRIMARIES)]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for i, node in enumerate(self.nodes):
            # Each its own epoch at once, so that none has to give way.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i, node in enumerate(self.nodes[:_PRIMARIES]):
            ends = [number * shards.SLOTS // _PRIMARIES for number in (i, i + 1)]
            node.ask("CLUSTER", "ADDSLOTS", *range(*ends))
        first, *others = self.nodes
        for node in others:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.cluster_port)
        until(lambda: all(self._knows_all(node) for node in self.nodes))
        for i, node in enumerate(self.nodes[_PRIMARIES:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[i].id())
        until(self.is_well)

    def stop(self) -> None:
        for node in self.nodes:
            node.resume()
            node.kill()

    def is_well(self) -> bool:
        """Whether all nodes are up and agree on it, and the replicas are in step.

        While one still takes another for dead, a replica may be about to take over.
        """
        primaries = {node.port for node in self.nodes if node.is_primary()}
        return len(primaries) == _PRIMARIES and all(
            self._state(node) == "ok"
            and (node.is_primary() or node.info("master_link_status") == "up")
            and "fail" not in self._known(node)
            and {port for _, _, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS")} == primaries
            for node in self.nodes
        )

    def primaries(self) -> list[Node]:
        return [node for node in self.nodes if node.running and node.is_primary()]

    def primary_of(self, key: str) -> Node:
        """The node that serves *key*, in the form of the repair log."""
        return self.primary_of_shard(shards.of(key))

    def primary_of_shard(self, shard: int) -> Node:
        slot = shards.slots()[shard]
        asked = next(node for node in self.nodes if node.running and self._state(node) == "ok")
        for first, last, (_, port, *_), *_ in asked.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody serves {slot}")

    def replica_of(self, primary: Node) -> Node:
        return next(
            node
            for node in self.nodes
            if node is not primary and node.info("master_port") == primary.port
        )

    def begin_to_move(self, shard: int, there: Node) -> Node:
        """The slot of *shard* is on its way to *there*; its keys are not yet."""
        slot, here = shards.slots()[shard], self.primary_of_shard(shard)
        there.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", here.id())
        here.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", there.id())
        return here

    def move_keys(self, shard: int, here: Node, there: Node, most: int = 10000) -> int:
        """Move keys of *shard*; returns how many."""
        keys = here.ask("CLUSTER", "GETKEYSINSLOT", shards.slots()[shard], most)
        if keys:
            here.ask("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, shard: int, there: Node) -> None:
        for node in [there, *(each for each in self.primaries() if each is not there)]:
            node.ask("CLUSTER", "SETSLOT", shards.slots()[shard], "NODE", there.id())

    def move(self, shard: int, there: Node) -> None:
        here = self.begin_to_move(shard, there)
        while self.move_keys(shard, here, there):
            pass
        self.end_move(shard, there)

    def _knows_all(self, node: Node) -> bool:
        known = self._known(node)
        return self._state(node) == "ok" and known.count("connected") >= len(self.nodes)

    @staticmethod
    def _known(node: Node) -> str:
        """What *node* knows of all nodes, with their states."""
        return str(node.ask("CLUSTER", "NODES"))

    @staticmethod
    def _state(node: Node) -> str:
        info = node.ask("CLUSTER", "INFO")
        if isinstance(info, dict):
            return str(info["cluster_state"])
        text = info.decode() if isinstance(info, bytes) else str(info)
        return text.partition("cluster_state:")[2].split()[0]


def documented(nodes: list[Node]) -> Any:
    """The settings of the guide, for these nodes; a busy machine needs more time."""
    block = blocks(DOCS / "how-to" / "cluster.md", "python")[0]
    caches = ast.literal_eval(block.script.partition("CACHES = ")[2])
    caches["default"]["LOCATION"] = [f"redis://127.0.0.1:{node.port}" for node in nodes[:2]]
    caches["default"]["OPTIONS"] |= {"SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
    return caches


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of a module that leave it as it is."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def redis_cluster(running_cluster: Cluster, settings: Any) -> Iterator[Cluster]:
    """The cache layer uses the cluster, which is empty and trusted."""
    yield from _used(running_cluster, settings)


@pytest.fixture
def own_cluster(tmp_path: Path, settings: Any) -> Iterator[Cluster]:
    """A cluster of this test's own, for what cannot be undone."""
    found = Cluster(tmp_path / "cluster")
    try:
        found.start()
        yield from _used(found, settings)
    finally:
        found.stop()


def _used(found: Cluster, settings: Any) -> Iterator[Cluster]:
    cache = settings.CACHES["default"]
    settings.CACHES = documented(found.nodes)
    try:
        assert cluster.is_used()
        trust_redis()
        yield found
    finally:
        for node in found.nodes:
            node.resume()
        # Before the settings change under it.
        end_reconcile()
        settings.CACHES = {"default": cache}
        trust_redis()
