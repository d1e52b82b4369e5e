"""A real Redis Cluster of three primaries and three replicas: ``redis_cluster``."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachelayer.redis import cluster, shards
from cachelayer.tests.fresh import end_reconcile, trust_redis
from itemsite.lab.redis_cluster import Cluster, Node
from itemsite.tests.documented import DOCS, blocks


class ShardedCluster(Cluster):
    """A cluster that knows where the cache layer's keys are."""

    def primary_of(self, key: str) -> Node:
        """The node that serves *key*, in the form of the repair log."""
        return self.primary_of_slot(shards.slots()[shards.of(key)])


def documented(nodes: list[Node]) -> Any:
    """The settings of the guide, for these nodes; a busy machine needs more time."""
    block = blocks(DOCS / "how-to" / "cluster.md", "python")[0]
    caches = ast.literal_eval(block.script.partition("CACHES = ")[2])
    caches["default"]["LOCATION"] = [f"redis://127.0.0.1:{node.port}" for node in nodes[:2]]
    caches["default"]["OPTIONS"] |= {"SOCKET_TIMEOUT": 0.5, "SOCKET_CONNECT_TIMEOUT": 0.5}
    return caches


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardedCluster]:
    """One cluster for the tests of a module that leave it as it is."""
    found = ShardedCluster(tmp_path_factory.mktemp("cluster"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def redis_cluster(running_cluster: ShardedCluster, settings: Any) -> Iterator[ShardedCluster]:
    """The cache layer uses the cluster, which is empty and trusted."""
    yield from _used(running_cluster, settings)


@pytest.fixture
def own_cluster(tmp_path: Path, settings: Any) -> Iterator[ShardedCluster]:
    """A cluster of this test's own, for what cannot be undone."""
    found = ShardedCluster(tmp_path / "cluster")
    try:
        found.start()
        yield from _used(found, settings)
    finally:
        found.stop()


def _used(found: ShardedCluster, settings: Any) -> Iterator[ShardedCluster]:
    with used(settings, documented(found.nodes)):
        try:
            yield found
        finally:
            for node in found.nodes:
                node.resume()


@contextmanager
def used(settings: Any, caches: Any) -> Iterator[None]:
    """The cache layer uses the cluster of *caches*, which is empty and trusted."""
    cache = settings.CACHES["default"]
    settings.CACHES = caches
    try:
        assert cluster.is_used()
        trust_redis()
        yield
    finally:
        # Before the settings change under it.
        end_reconcile()
        settings.CACHES = {"default": cache}
        trust_redis()
