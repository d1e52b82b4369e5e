"""A real Redis Cluster of three primaries and three replicas on 127.0.0.1.

``redis-cli --cluster`` is not everywhere, so the nodes are put together by commands.
"""

import random
from pathlib import Path
from typing import Any, Final

import redis

from itemsite.lab.errors import LabError
from itemsite.lab.ports import is_free, is_of_share
from itemsite.lab.process import wait_until
from itemsite.lab.redis_server import Redis

SLOTS: Final = 16384
_PRIMARIES: Final = 3
#: Milliseconds until the others take a node for dead.
_TIMEOUT: Final = 1000
#: A node's bus listens at its port and this.
_BUS: Final = 10_000
#: Below the ports that systems take outgoing connections from (32768 and up), the bus's as well.
_PORTS: Final = range(20_000, 22_700)
#: Each is given once: a node's port is chosen before the nodes start, so it is still free then.
_untried = iter(random.sample(_PORTS, len(_PORTS)))
#: Seconds after which a cluster that has not come up, or a move, has failed.
_PATIENCE: Final = 30.0


class Node(Redis):
    """A node of a cluster, and what a fault does to it."""

    def __init__(self, directory: Path) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(_TIMEOUT)]
        options += ["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"]
        # A replica that lags takes over all the same, and soon.
        options += ["--cluster-replica-validity-factor", "0"]
        super().__init__(directory, _port(), persistent=True, options=options)
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

    def state(self) -> str:
        """What it says of the cluster: ``ok`` or ``fail``."""
        info = self.ask("CLUSTER", "INFO")
        if isinstance(info, dict):
            return str(info["cluster_state"])
        text = info.decode() if isinstance(info, bytes) else str(info)
        return text.partition("cluster_state:")[2].split()[0]

    def known(self) -> str:
        """What it knows of all nodes, with their states."""
        return str(self.ask("CLUSTER", "NODES"))


class Cluster:
    """Six nodes; ``nodes[i + 3]`` is at first the replica of ``nodes[i]``."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [Node(directory / f"node{i}") for i in range(2 * _PRIMARIES)]

    def start(self) -> None:
        """Start the nodes, put them together, and wait until all is well."""
        for node in self.nodes:
            node.start()
        for i, node in enumerate(self.nodes):
            # Each its own epoch at once, so that none has to give way.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i, node in enumerate(self.nodes[:_PRIMARIES]):
            ends = [number * SLOTS // _PRIMARIES for number in (i, i + 1)]
            node.ask("CLUSTER", "ADDSLOTS", *range(*ends))
        first, *others = self.nodes
        for node in others:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        _wait(lambda: all(self._knows_all(node) for node in self.nodes))
        for i, node in enumerate(self.nodes[_PRIMARIES:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[i].id())
        _wait(self.is_well)

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
            node.state() == "ok"
            and (node.is_primary() or node.info("master_link_status") == "up")
            and "fail" not in node.known()
            and {port for _, _, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS")} == primaries
            for node in self.nodes
        )

    def primaries(self) -> list[Node]:
        return [node for node in self.nodes if node.running and node.is_primary()]

    def primary_of_slot(self, slot: int) -> Node:
        asked = next(node for node in self.nodes if node.running and node.state() == "ok")
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

    def begin_to_move(self, slot: int, there: Node) -> Node:
        """*slot* is on its way to *there*; its keys are not yet. Returns the node that has it."""
        here = self.primary_of_slot(slot)
        there.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", here.id())
        here.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", there.id())
        return here

    def move_keys(self, slot: int, here: Node, there: Node, most: int = 10000) -> int:
        """Move keys of *slot*; returns how many."""
        keys = here.ask("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            here.ask("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, there: Node) -> None:
        for node in [there, *(each for each in self.primaries() if each is not there)]:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", there.id())

    def move(self, slot: int, there: Node) -> None:
        here = self.begin_to_move(slot, there)
        while self.move_keys(slot, here, there):
            pass
        self.end_move(slot, there)

    def _knows_all(self, node: Node) -> bool:
        return node.state() == "ok" and node.known().count("connected") >= len(self.nodes)


def _port() -> int:
    """A free port of which the node's bus is free, too: that has no option before Redis 7."""
    for port in _untried:
        if is_of_share(port) and is_free(port) and is_free(port + _BUS):
            return port
    raise LabError("No port for a node of a Redis Cluster is free on 127.0.0.1.")


def _wait(condition: Any) -> None:
    if not wait_until(condition, _PATIENCE):
        raise TimeoutError(f"The Redis Cluster was not well within {_PATIENCE:g} s.")
