"""A real cluster, three primaries and a replica of each: ``cluster``, with the guide's settings."""

import ast
import random

import pytest
import redis
from redis.crc import key_slot

from cachelayer.tests.fresh import trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.ports import is_free
from itemsite.lab.redis_server import Redis
from itemsite.tests.documented import DOCS, blocks

#: The bus of a node listens at its port and this; also that must not be a client's port.
_BUS = 10_000
#: Each is given once: django-redis keeps a pool for each URL, which knows its own cluster.
_ports = iter(random.sample(range(20_000, 22_700), 2_700))
_SLOTS = 16_384
_OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    # A replica that lags may take over all the same: that is what is tried.
    *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
)


class Node(Redis):
    """One server of the cluster."""

    def ask(self, *command):
        with redis.Redis(port=self.port, decode_responses=True) as connection:
            return connection.execute_command(*command)

    @property
    def id(self):
        return self.ask("CLUSTER", "MYID")

    def info(self):
        """``CLUSTER INFO`` as a dictionary."""
        with redis.Redis(port=self.port, decode_responses=True) as connection:
            return connection.cluster("INFO")

    def role(self):
        return self.ask("ROLE")[0]


class Cluster:
    """Six nodes; ``nodes[i + 3]`` is the replica of ``nodes[i]`` at first."""

    def __init__(self, directory):
        self.nodes = [
            Node(directory / f"node{i}", _free_port(), persistent=False, options=_OPTIONS)
            for i in range(6)
        ]

    def start(self):
        for node in self.nodes:
            node.start()
        first, primaries = self.nodes[0], self.nodes[:3]
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        for i, node in enumerate(primaries):
            node.ask("CLUSTER", "ADDSLOTS", *range(i * _SLOTS // 3, (i + 1) * _SLOTS // 3))
        until(lambda: all(self._knows_all(node) for node in self.nodes))
        for node, primary in zip(self.nodes[3:], primaries, strict=True):
            until(lambda node=node, primary=primary: _replicates(node, primary))
        until(lambda: all(node.info()["cluster_state"] == "ok" for node in self.nodes))
        until(lambda: all(node.ask("ROLE")[3] == "connected" for node in self.nodes[3:]))

    def stop(self):
        for node in self.nodes:
            node.kill()

    def owner(self, tag):
        """The primary that has the slot of *tag*, and its replica at first."""
        at = key_slot(tag.encode()) * 3 // _SLOTS
        return self.nodes[at], self.nodes[at + 3]

    def _knows_all(self, node):
        return int(node.info()["cluster_known_nodes"]) == len(self.nodes)


def _replicates(node, primary):
    try:
        node.ask("CLUSTER", "REPLICATE", primary.id)
    except redis.ResponseError:  # It has not heard of the primary yet.
        return False
    return True


def _free_port():
    return next(port for port in _ports if is_free(port) and is_free(port + _BUS))


def _documented(cluster):
    """The settings of the guide, for *cluster*; a busy machine needs more time."""
    [written] = [
        block.script.partition("CACHES = ")[2]
        for block in blocks(DOCS / "how-to" / "cluster.md", "python")
    ]
    ports = [node.port for node in cluster.nodes]
    for name, port in zip(("7000", "7001", "7002"), ports[:3], strict=True):
        written = written.replace(name, str(port))
    caches = ast.literal_eval(written)
    caches["default"]["OPTIONS"] |= {"SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
    return caches


@pytest.fixture
def cluster(tmp_path, settings):
    """The cluster; the cache layer's keys are in one slot of it."""
    made = Cluster(tmp_path / "cluster")
    cache = settings.CACHES["default"]
    try:
        made.start()
        settings.CACHES = _documented(made)
        trust_redis()
        yield made
    finally:
        settings.CACHES = {"default": cache}
        made.stop()
        trust_redis()
