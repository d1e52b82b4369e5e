"""The one way to Redis: a round trip, through the gate, timed.

Everything that the cache layer asks of Redis goes through ``round_trip``, on the
connection that django-redis configures.
"""

import hashlib
import time
from collections.abc import Sequence
from importlib import resources
from typing import Any

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import MaxConnectionsError, NoScriptError, RedisError, ResponseError

from cachelayer import conf, timing
from cachelayer.gate import CacheUnavailable, gate

#: A command and its arguments, or a ``Script`` with one key and its arguments.
Command = tuple[Any, ...]


class Script:
    """A Lua script: sent by its hash; with its text where Redis does not know it."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("cachelayer").joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *args: Any) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


_scripts: dict[str, Script] = {}


def script(name: str) -> Script:
    """The script in ``lua/<name>.lua``, read once."""
    loaded = Script(name)
    return _scripts.setdefault(loaded.sha, loaded)


def client() -> Redis:
    """The django-redis connection of ``CACHE_ALIAS``; for ``round_trip`` and for tests."""
    connection: Redis = get_redis_connection(conf.get().CACHE_ALIAS)
    return connection


def round_trip(*commands: Command) -> list[Any]:
    """Send *commands* together, answer their results in order.

    Raises ``CacheUnavailable`` when the gate is open or Redis does not answer;
    then some of the commands may have been carried out.
    """
    gate.enter()
    start = time.perf_counter()
    try:
        results = _send(commands)
        unknown = [i for i, result in enumerate(results) if isinstance(result, NoScriptError)]
        if unknown:
            # A server that has restarted has forgotten the scripts.
            again = _send([_with_text(commands[i]) for i in unknown])
            for i, result in zip(unknown, again, strict=True):
                results[i] = result
        for result in results:
            if isinstance(result, Exception):
                raise result
    except MaxConnectionsError as error:
        # This process has too many threads for its pool; Redis is well.
        raise CacheUnavailable(str(error)) from error
    except (RedisError, OSError) as error:
        # An answer that refuses (out of memory, read-only replica) is as good
        # as none: the caller must not believe that its command took effect.
        gate.failed(error)
        raise CacheUnavailable(str(error)) from error
    finally:
        timing.add_redis(time.perf_counter() - start)
    gate.succeeded()
    return results


def ping() -> bool:
    """Whether Redis answers this process now; never raises."""
    try:
        round_trip(("PING",))
    except CacheUnavailable:
        return False
    return True


def _send(commands: Sequence[Command]) -> list[Any]:
    redis = client()
    if len(commands) == 1:
        try:
            return [redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return [error]
    pipeline = redis.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
    return pipeline.execute(raise_on_error=False)


def _with_text(command: Command) -> Command:
    _, sha, *rest = command
    return ("EVAL", _scripts[sha].text, *rest)
