"""The only way to Redis: round trips through the gate, verified, timed, and within a budget.

All commands of the cache layer go through ``round_trip``. Its connections are configured by
django-redis, with three differences: they never retry by themselves; their answers are bytes; and
each identifies the server before its first command, so that a silent reconnect cannot lead to a
Redis with old data.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar

from django_redis import get_redis_connection
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    MaxConnectionsError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from cachelayer import conf, events, timing
from cachelayer.exceptions import BrokenConnection, CacheUnavailable
from cachelayer.redis import (
    cluster_lines,
    cluster_transport,
    epoch,
    incarnation,
    keyspace,
    resp,
    scripts,
    shards,
    variants,
)
from cachelayer.redis.gate import Mode, Use, gate
from cachelayer.redis.resp import Lines
from cachelayer.redis.scripts import Command

T = TypeVar("T")
P = ParamSpec("P")

#: Options that the project may have set differently for its own values.
_OURS: Final = {"decode_responses": False, "encoding": "utf-8", "encoding_errors": "strict"}
#: Options of a Sentinel pool that are not options of its connections.
_OF_SENTINEL: Final = ("service_name", "sentinel_manager", "is_master", "check_connection")


class _Broke(Exception):  # noqa: N818  (as CacheUnavailable)
    """A connection broke, and the caller must decide what to send next."""


class WrongType(ResponseError):  # noqa: N818  (as CacheUnavailable)
    """The key does not hold a string, so it is not the cache layer's."""


class _Acting(threading.local):
    unverified: ConnectionPool | None = None


_acting = _Acting()
_pool_lock = threading.Lock()
_pool: ConnectionPool | None = None
_generation = 0


def generation() -> int:
    """Grows with every ``forget_connections``: a connection of an earlier one is not used."""
    return _generation


def client() -> Redis:
    """The django-redis client of ``CACHE_ALIAS``, without the gate: for reconcile and tests."""
    connection: Redis = get_redis_connection(conf.get().CACHE_ALIAS)
    return connection


def round_trip(*commands: Command, use: Use = Use.WRITE, resend: bool = True) -> list[Any]:
    """Send *commands* together; return their results in order.

    Raises ``CacheUnavailable`` if the gate forbids *use*, the request has no budget left, or Redis
    does not answer; then some commands may have been carried out. After a broken connection, tries
    once more on a new one; without *resend*, raises ``BrokenConnection``.
    """
    if shards.are_used():
        return cluster_transport.round_trip(*commands, use=use, resend=resend)
    if _acting.unverified:
        return _send_scripts(commands, _acting.unverified, resend)
    return _guarded(scripts.name(commands[0]), use, _send_scripts, commands, pool(), resend)


def get(keys: Sequence[str]) -> list[bytes | None]:
    """The values of *keys*, by a shorter path than ``round_trip``; raises ``CacheUnavailable``."""
    if _acting.unverified:
        values: list[bytes | None] = round_trip(("MGET", *keys))[0]
        return values
    return _guarded("GET", Use.READ, _get, keys)


def _guarded(name: str, use: Use, send: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of *send*, which runs through the gate, within the budget, timed and counted.

    Every command of the cache layer passes here.
    """
    gate.enter(use)
    # The budget does not apply to marks and pushes, because a write must not lose its mark.
    if use is Use.READ and timing.redis_spent() > conf.get().REQUEST_BUDGET:
        raise CacheUnavailable("This request has used up its time for Redis.")
    start = time.perf_counter()
    try:
        result = send(*args, **kwargs)
    except MaxConnectionsError as error:
        # This process has too many threads for its pool; Redis is fine.
        raise CacheUnavailable(str(error)) from error
    except _Broke as error:
        raise BrokenConnection(str(error)) from error
    except WrongType as error:
        # Another program's value is under one of our keys; Redis is fine.
        raise CacheUnavailable(str(error)) from error
    except (RedisError, OSError) as error:
        # A refusal (out of memory, read-only replica) counts as no answer: the caller must not
        # believe that its command took effect.
        gate.suspect(error)
        raise CacheUnavailable(str(error)) from error
    finally:
        took = time.perf_counter() - start
        timing.add_redis(took)
        events.round_trip_ended(name, took)
    # A new connection may have found Redis settling.
    gate.enter(use)
    return result


@contextmanager
def unverified() -> Iterator[None]:
    """Round trips of this thread bypass the gate, for the reconcile; they raise ``RedisError``."""
    connections = _acting.unverified = _copy(client().connection_pool)
    try:
        yield
    finally:
        _acting.unverified = None
        connections.disconnect()


def ping() -> bool:
    """Whether Redis answers this process now; never raises."""
    if gate.mode is Mode.OPEN:
        return False
    try:
        round_trip(("PING",))
    except CacheUnavailable:
        return False
    return True


def _send_scripts(
    commands: Sequence[Command], connections: ConnectionPool, resend: bool
) -> list[Any]:
    results = _reconnecting(connections, resend, _send, commands, connections)
    unknown = [i for i, result in enumerate(results) if isinstance(result, NoScriptError)]
    if unknown:
        # A restarted server has forgotten the scripts.
        texts = [scripts.with_text(commands[i]) for i in unknown]
        again = _reconnecting(connections, resend, _send, texts, connections)
        for i, result in zip(unknown, again, strict=True):
            results[i] = result
    return [_unless_refused(result) for result in results]


def _unless_refused(result: T) -> T:
    if isinstance(result, ResponseError) and "WRONGTYPE" in str(result):
        raise WrongType(str(result)) from result
    if isinstance(result, Exception):
        raise result
    return result


def _reconnecting(
    connections: ConnectionPool,
    resend: bool,
    send: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Send; if the connection broke, try once on a new one, which verifies the server.

    Without the second try, a process that has not noticed a restart would write without a mark,
    while others already trust the new Redis.
    """
    try:
        return send(*args, **kwargs)
    except MaxConnectionsError:
        raise
    except (RedisConnectionError, RedisTimeoutError) as error:
        connections.disconnect(inuse_connections=False)
        _lines.forget()
        if not resend:
            raise _Broke(str(error)) from error
        if isinstance(error, RedisTimeoutError):
            raise  # A reader does not wait for a second connection.
        return send(*args, **kwargs)


def _send(commands: Sequence[Command], connections: ConnectionPool) -> list[Any]:
    if connections is _pool:
        return _lines.ask(resp.pack(*commands), len(commands))
    connection: Any = connections.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [incarnation.answer(connection) for _ in commands]
    except BaseException:
        # Half an answer may be left on the connection.
        connection.disconnect()
        raise
    finally:
        connections.release(connection)


def _get(keys: Sequence[str]) -> list[bytes | None]:
    return _unless_refused(_reconnecting(pool(), True, _lines.values, keys))


def pool() -> ConnectionPool:
    """This process's pool of verified connections, configured as django-redis's."""
    global _pool
    if _pool is None:
        with _pool_lock:
            if _pool is None:
                _pool = _copy(client().connection_pool, redis_connect_func=_verify)
    return _pool


def _options(configured: ConnectionPool) -> dict[str, Any]:
    """The connection options of *configured*, changed to return bytes and not to retry."""
    return {**configured.connection_kwargs, **_OURS, "retry": Retry(NoBackoff(), 0)}


def _copy(configured: ConnectionPool, **others: Any) -> ConnectionPool:
    options = _options(configured) | others
    if isinstance(configured, SentinelConnectionPool):
        # It belongs to the configured pool; the new pool sets another.
        del options["connection_pool"]
        options |= {name: getattr(configured, name) for name in _OF_SENTINEL}
        for sentinel in configured.sentinel_manager.sentinels:
            # By default redis-py asks a Sentinel that is gone for several seconds.
            sentinel.set_retry(Retry(NoBackoff(), 0))
    return type(configured)(
        connection_class=configured.connection_class,
        max_connections=configured.max_connections,
        **options,
    )


def _verify(connection: Any) -> None:
    """Check before a connection's first command that this is the trusted Redis."""
    connection.on_connect()
    found = incarnation.fetch(connection)
    try:
        if found.epoch != epoch.known():
            epoch.ask()  # Another process has reconciled this server, or another one.
        reason = found.distrust
    except epoch.UNKNOWN as error:
        reason = f"Postgres does not tell which Redis was reconciled last: {error}"
    # Redis is reachable, so writers mark and push, whatever the incarnation says. If the gate
    # were opened here, they would write without marks, while other connections still serve hits.
    if reason:
        gate.settle(reason)
    # Do this now, while Postgres answers. Without it, a new process could not serve hits later.
    with suppress(CacheUnavailable):
        variants.own()


def _new_connection() -> Any:
    connections = pool()
    return connections.connection_class(**connections.connection_kwargs)


def verified_connection() -> Any:
    """A new connection, connected and verified, for an event loop; raises ``RedisError``."""
    connection = _new_connection()
    resp.connect(connection)
    return connection


def _ask_fresh(*commands: Command) -> list[Any]:
    with fresh_connection() as connection:
        return [_unless_refused(answer) for answer in incarnation.ask(connection, *commands)]


def _ask_owner(*commands: Command) -> list[Any]:
    return _guarded("GET", Use.WRITE, _ask_fresh, *commands)


keyspace.ask_by(_ask_owner)

_lines = Lines(_new_connection, lambda: pool().max_connections)


@contextmanager
def fresh_connection() -> Iterator[Any]:
    """One new connection, not verified: for the reconcile. Raises ``RedisError``."""
    connections = client().connection_pool
    connection = connections.connection_class(**_options(connections))
    try:
        resp.connect(connection)
        yield connection
    finally:
        connection.disconnect()


def forget_connections() -> None:
    """Close the idle connections; the next ones verify anew."""
    global _pool, _generation
    _generation += 1
    cluster_lines.forget_connections()
    if _pool is not None:
        _pool.disconnect(inuse_connections=False)
        _pool = None
    _lines.forget()


def _start_afresh() -> None:
    global _pool
    _pool = None
    _lines.start_afresh()


os.register_at_fork(after_in_child=_start_afresh)
