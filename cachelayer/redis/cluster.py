"""Whether Redis is a cluster, and how to connect to its nodes.

``CACHES`` says it, by the connection factory in this module. Django's own cache calls then go
through redis-py's ``RedisCluster``. The cache layer makes its own connections to each node, with
the same options.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string
from django_redis.pool import ConnectionFactory
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from cachelayer import conf

#: What a connection of the layer has, whatever the project's own values need.
OURS: Final = {"decode_responses": False, "encoding": "utf-8", "encoding_errors": "strict"}
#: Where a node listens.
Address = tuple[str, int]


class Client(RedisCluster):
    """As ``RedisCluster``, with the commands of many keys that Django's cache sends."""

    def mget(self, keys: Any, *args: Any) -> Any:
        return self.mget_nonatomic(keys, *args)


class ClusterConnectionFactory(ConnectionFactory[Any, Any, Any]):  # type: ignore[misc]  # django-redis is not typed
    """django-redis' connection factory for Redis Cluster or Valkey Cluster.

    ``LOCATION`` names one or more of the cluster's nodes; the others are found through them.
    """

    _clients: dict[str, Client] = {}

    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        """A pool for one node; raises ``ImproperlyConfigured``."""
        made: ConnectionPool = super().get_connection_pool(params)
        if "host" not in made.connection_kwargs:
            raise ImproperlyConfigured(
                "LOCATION of a cluster must be redis:// or rediss:// and the address of a node."
            )
        if made.connection_kwargs.get("db"):
            raise ImproperlyConfigured("A cluster has database 0 only. Correct LOCATION.")
        return made

    def connect(self, url: str) -> Any:
        """The client of this process for the cluster; raises ``RedisError``."""
        if url not in self._clients:
            pool = self.get_connection_pool(self.make_connection_params(url))
            options = dict(pool.connection_kwargs)
            host, port = options.pop("host", "localhost"), options.pop("port", 6379)
            self._clients[url] = Client(
                startup_nodes=[ClusterNode(host, port)],
                retry=Retry(NoBackoff(), 0),
                ssl=urlsplit(url).scheme == "rediss",
                **{name: options[name] for name in options if name not in _NOT_OF_CLUSTER},
            )
        return self._clients[url]

    def disconnect(self, connection: Any) -> None:
        """Close the connections of *connection*."""
        connection.close()


#: Options of a connection that ``RedisCluster`` refuses.
_NOT_OF_CLUSTER: Final = ("db", "retry", "parser_class", "connection_pool")


def is_used() -> bool:
    """Whether the settings say that Redis is a cluster."""
    return _is_used(conf.get().CACHE_ALIAS)


@lru_cache(maxsize=1)
def _is_used(alias: str) -> bool:
    options = django_settings.CACHES.get(alias, {}).get("OPTIONS", {})
    factory = options.get("CONNECTION_FACTORY") or getattr(
        django_settings, "DJANGO_REDIS_CONNECTION_FACTORY", None
    )
    if not factory:
        return False
    try:
        found = import_string(factory) if isinstance(factory, str) else factory
    except ImportError as error:
        raise ImproperlyConfigured(f"CONNECTION_FACTORY of CACHES: {error}") from error
    return isinstance(found, type) and issubclass(found, ClusterConnectionFactory)


def seeds() -> Sequence[ConnectionPool]:
    """For each node in ``LOCATION``, a pool that knows how to connect to it."""
    client: Any = caches[conf.get().CACHE_ALIAS].client  # type: ignore[attr-defined]  # of django-redis
    factory = client.connection_factory
    urls = client._server if isinstance(client._server, (list, tuple)) else [client._server]
    return [factory.get_connection_pool(factory.make_connection_params(url)) for url in urls]


def address_of(pool: ConnectionPool) -> Address:
    """Where the node of *pool* listens."""
    options = pool.connection_kwargs
    return options.get("host", "localhost"), int(options.get("port", 6379))


def connection_to(address: Address, **others: Any) -> Any:
    """redis-py's connection to the node at *address*, not connected yet."""
    seed = seeds()[0]
    options = {**seed.connection_kwargs, **OURS, "retry": Retry(NoBackoff(), 0), **others}
    options["host"], options["port"] = address
    return seed.connection_class(**options)


def most_connections() -> int:
    """How many connections to one node this process may have."""
    return int(seeds()[0].max_connections)


def _follow(*, setting: str, **kwargs: object) -> None:
    if setting in ("CACHES", "CACHELAYER", "DJANGO_REDIS_CONNECTION_FACTORY"):
        _is_used.cache_clear()


setting_changed.connect(_follow, dispatch_uid="cachelayer.cluster")
