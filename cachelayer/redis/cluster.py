"""A Redis or Valkey Cluster, of which this project's keys use one slot.

All keys begin with the same hash tag (``KEY_PREFIX: "{shop}"``), so one primary has them all, and
every script sees all its keys. The protocol is that of a single Redis: one server, one incarnation,
one epoch. What a cluster adds is who that server is. Each new connection asks the cluster, as it
would ask Sentinel; a connection whose node has given the slot away breaks.

1. The slot moves to another node, with rows and marks. 2. The old node refuses (MOVED), so its
connections break; the next ones lead to the new node. 3. The incarnation there names the old node:
nothing is read until a reconcile has swept the new one. The same holds after a fail-over, where a
replica that lags may have lost the last marks.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, cast

from django.core.exceptions import ImproperlyConfigured
from django_redis import pool
from redis import Connection, ConnectionPool, SSLConnection
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, NodesManager
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisClusterException, RedisError
from redis.retry import Retry

from cachelayer.redis import keyspace

FACTORY: Final = "cachelayer.redis.cluster.ConnectionFactory"
#: Options of our connections that those to other nodes, who are asked for the slot, do not have.
_OF_ONE_NODE: Final = ("redis_connect_func", "host", "port", "db", "retry")


class Left(RedisConnectionError):  # noqa: N818  (as CacheUnavailable)
    """The node has given our slot to another one, which is known."""


class Cluster:
    """Which node is the primary of the project's slot."""

    def __init__(self, nodes: list[tuple[str, int]]) -> None:
        self._nodes = nodes
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)

    def _start_afresh(self) -> None:
        self._manager: NodesManager | None = None
        self._is_known = False

    def primary(self, kind: type[Connection], options: Mapping[str, Any]) -> tuple[str, int]:
        """The address of the node that has the slot.

        Unless it is known, asks the cluster's nodes, by connections of this *kind* with these
        *options*, until one answers. Raises ``RedisError``.
        """
        manager = self._manager
        if manager is None:
            wanted = {name: value for name, value in options.items() if name not in _OF_ONE_NODE}
            nodes = [ClusterNode(host, port) for host, port in self._nodes]
            manager = NodesManager(nodes, from_url=True, connection_class=kind, **wanted)
            self._manager = manager
        try:
            if not self._is_known:
                # With the nodes of the settings: those that were found may all be replaced by now.
                manager.initialize(additional_startup_nodes_info=self._nodes)
                self._is_known = True
            node = manager.get_node_from_slot(slot())
        except RedisClusterException as error:
            raise RedisConnectionError(f"No node says who has the slot: {error}") from error
        return str(node.host), int(node.port)

    def forget(self) -> None:
        """The known node does not take connections: ask again before the next one."""
        self._is_known = False

    def moved(self, error: MovedError, host: str) -> Exception:
        """What *error*, from the node at *host*, means to its connection."""
        if error.slot_id != slot() or self._manager is None:
            return error  # Of a key that is not this project's.
        error.host = error.host or host
        # A node that is asked now may not have heard of it yet.
        self._manager.move_slot(error)
        return Left("This node of the cluster has given its keys to another node.")


def slot() -> int:
    """The slot of this project's keys; raises as ``tag``."""
    return key_slot(tag().encode())


def tag() -> str:
    """The hash tag of this project's keys; raises ``ImproperlyConfigured`` without one."""
    start = keyspace.said() or ""
    content = start[start.find("{") + 1 : start.find("}")] if "{" in start else ""
    if not content or "}" not in start:
        raise ImproperlyConfigured(TAGLESS)
    return content


TAGLESS: Final = (
    "On a cluster, all keys of the cache must be in one slot. Give KEY_PREFIX in CACHES a hash "
    'tag: a word of this project in braces, such as "{shop}".'
)


class SlotConnection(Connection):
    """Connects to the primary of the slot, and leaves a node that has given it away."""

    _kind: type[Connection] = Connection

    def __init__(self, *, cluster: Cluster, **options: Any) -> None:
        self._cluster, self._options = cluster, options
        super().__init__(**options)

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        # Not ``connect``: a command on a connection that has broken comes here past it.
        if self._sock is not None:
            return
        self.host, self.port = self._cluster.primary(self._kind, self._options)
        try:
            super().connect_check_health(*args, **options)
        except Left:
            raise
        except (RedisError, OSError):
            self._cluster.forget()
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except MovedError as error:
            self.disconnect()
            raise self.moved(error) from error

    def moved(self, error: MovedError) -> Exception:
        """What this refusal means: ``Left`` if our slot has gone."""
        return self._cluster.moved(error, self.host)


class SlotSSLConnection(SlotConnection, SSLConnection):
    """As ``SlotConnection``, over TLS."""

    _kind = SSLConnection


class ConnectionFactory(pool.ConnectionFactory):  # type: ignore[misc]
    """For ``CONNECTION_FACTORY`` in the options of a django-redis cache.

    ``LOCATION`` is one node, and ``CLUSTER_NODES`` lists others, as (host, port), for when that one
    is away.
    """

    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        made = cast(ConnectionPool, super().get_connection_pool(params))
        options = made.connection_kwargs
        if "host" not in options or made.connection_class not in _CLASSES:
            raise ImproperlyConfigured(
                "LOCATION of a cluster must be redis:// or rediss:// and the address of a node."
            )
        if options.get("db"):
            raise ImproperlyConfigured("A cluster has database 0 only. Correct LOCATION.")
        nodes = [
            (options["host"], options.get("port", 6379)),
            *self.options.get("CLUSTER_NODES", []),
        ]
        # Django's own cache calls follow the slot, too.
        options.setdefault("retry", Retry(NoBackoff(), 1))
        options["cluster"] = Cluster([(host, int(port)) for host, port in nodes])
        made.connection_class = _CLASSES[made.connection_class]
        made.reset()
        return made


_CLASSES: Final = {Connection: SlotConnection, SSLConnection: SlotSSLConnection}
