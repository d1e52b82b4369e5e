"""A real Redis Cluster of three primaries and three replicas: ``redis_cluster``."""

import ast
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from cachelayer.redis import cluster, shards
from cachelayer.tests.fresh import end_reconcile, trust_redis
from cachelayer.tests.polling import until
from itemsite.lab.redis_cluster import Cluster, Node
from itemsite.tests.documented import DOCS, blocks
from itemsite.tests.own_redis import PASSWORD
from itemsite.tests.tls import Terminator


class ShardedCluster(Cluster):
    """A cluster that knows where the cache layer's keys are."""

    def primary_of(self, key: str) -> Node:
        """The node that serves *key*, in the form of the repair log."""
        return self.primary_of_slot(shards.slots()[shards.of(key)])


def documented(nodes: list[Node], answer_time: float) -> Any:
    """The settings of the guide, for these nodes, which have seconds to answer."""
    block = blocks(DOCS / "how-to" / "cluster.md", "python")[0]
    caches = ast.literal_eval(block.script.partition("CACHES = ")[2])
    caches["default"]["LOCATION"] = [f"redis://127.0.0.1:{node.port}" for node in nodes[:2]]
    caches["default"]["OPTIONS"] |= {
        "SOCKET_TIMEOUT": answer_time,
        "SOCKET_CONNECT_TIMEOUT": answer_time,
    }
    return caches


@pytest.fixture
def answer_time() -> float:
    """Seconds until a node is taken to be away; long, where no test pauses one."""
    return 10.0


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
def redis_cluster(
    running_cluster: ShardedCluster, settings: Any, answer_time: float
) -> Iterator[ShardedCluster]:
    """The cache layer uses the cluster, which is empty and trusted."""
    yield from _used(running_cluster, settings, answer_time)


@pytest.fixture
def own_cluster(tmp_path: Path, settings: Any, answer_time: float) -> Iterator[ShardedCluster]:
    """A cluster of this test's own, for what cannot be undone."""
    found = ShardedCluster(tmp_path / "cluster")
    try:
        found.start()
        yield from _used(found, settings, answer_time)
    finally:
        found.stop()


@pytest.fixture
def tls_cluster(tmp_path: Path, settings: Any, answer_time: float) -> Iterator[list[int]]:
    """The cache layer comes to a cluster by TLS, at the ports that this gives, with a user.

    Its nodes tell the ports of TLS terminators. The replicas do not speak TLS and lose their
    primaries.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    found = ShardedCluster(tmp_path / "cluster")
    with ExitStack() as stack:
        stack.callback(found.stop)
        found.start()
        ports: list[int] = []
        for node in found.nodes[:3]:
            node.ask("ACL", "SETUSER", "lab", "on", f">{PASSWORD}", "~*", "&*", "+@all")
            ports.append(stack.enter_context(Terminator(node.port, context)).port)
            node.ask("CONFIG", "SET", "cluster-announce-port", ports[-1])
        until(lambda: all(_told(node) == {*ports} for node in found.nodes[:3]))
        login = f"rediss://lab:{quote(PASSWORD, safe='')}@127.0.0.1"
        ends = [f"{port}/0?ssl_ca_certs={tmp_path}/ca.pem" for port in ports]
        caches = documented([], answer_time)
        caches["default"]["LOCATION"] = [f"{login}:{end}" for end in ends]
        stack.enter_context(_configured(settings, caches))
        yield ports


def _told(node: Node) -> set[int]:
    return {port for _, _, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS")}


def _used(found: ShardedCluster, settings: Any, answer_time: float) -> Iterator[ShardedCluster]:
    with _configured(settings, documented(found.nodes, answer_time)):
        try:
            yield found
        finally:
            for node in found.nodes:
                node.resume()


@contextmanager
def _configured(settings: Any, caches: Any) -> Iterator[None]:
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
