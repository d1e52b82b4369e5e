"""What the cache needs of a Redis and may not get: asked of the server itself, by ``check``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, Final

from django.core.checks import CheckMessage, Error
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import eviction, incarnation, keyspace, transport
from cachelayer.representation import registry, relations

_KEY: Final = "cachelayer:probe"
#: The commands that the layer's Python sends; its scripts say theirs themselves.
SENT: Final = frozenset(
    {"dbsize", "eval", "evalsha", "exists", "get", "hdel", "hgetall", "hmget", "hset"}
    | {"info", "mget", "ping", "pttl", "scan", "set"}
)
#: Each command of ours with arguments that it may be tried with: they change nothing, or a key
#: that is nobody's. A hash's command on a string is refused, after it was allowed.
_HARMLESS: Final[dict[str, tuple[Any, ...]]] = {
    "mset": (_KEY, "1"),
    "set": (_KEY, "1", "PX", 1000),
    "append": (_KEY, ""),
    "dbsize": (),
    "eval": ("return 1", 0),
    "evalsha": ("0" * 40, 0),
    "exists": (_KEY,),
    "expire": (_KEY, 1),
    "get": (_KEY,),
    "getrange": (_KEY, 0, 0),
    "hincrby": (_KEY, "field", 0),
    "hdel": (_KEY, "field"),
    "hget": (_KEY, "field"),
    "hgetall": (_KEY,),
    "hmget": (_KEY, "field"),
    "hset": (_KEY, "field", ""),
    "info": ("memory",),
    "mget": (_KEY,),
    "object|encoding": (_KEY,),
    "pexpire": (_KEY, 1),
    "ping": (),
    "pttl": (_KEY,),
    "scan": (0, "COUNT", 1),
    "time": (),
    "type": (_KEY,),
    "del": (_KEY,),
    "unlink": (_KEY,),
}
_CALL: Final = re.compile(r"(?:redis\.p?call|in_parts)\('([A-Z]+)'(?:, '([A-Z]+)')?")


def problems() -> list[CheckMessage]:
    """What stands in the way; nothing where Redis is away, for that it may be at any time."""
    try:
        with transport.fresh_connection() as connection:
            return list(_problems(connection))
    except AuthenticationError as error:
        return [
            Error(
                f"Redis does not let the cache in ({error}): it never uses it.",
                hint="Give the right user and password in CACHES' LOCATION or OPTIONS.",
                id="cachelayer.E026",
            )
        ]
    except NoPermissionError:  # To choose its database, for one.
        return [
            _forbidden(_user(transport.client().connection_pool.connection_kwargs), ["select"], [])
        ]
    except (RedisError, OSError, CacheUnavailable):
        return []


def commands() -> list[str]:
    """Every command that the layer uses, as ACL names it."""
    found = set(SENT)
    for script in resources.files("cachelayer.redis").joinpath("lua").iterdir():
        for parts in _CALL.findall(script.read_text()):
            found.add("|".join(filter(None, parts)).lower())
    return sorted(found)


def key_patterns() -> list[str]:
    """Every key that the layer uses, as patterns."""
    prefixes = sorted(cached.prefix for cached in registry.every())
    rows = [f"{prefix}{sign}" for prefix in prefixes for sign in ":~"]
    stamps = [relations.SIGN] if any(cached.is_document for cached in registry.every()) else []
    starts = [*rows, *stamps, "cachelayer:", "{cachelayer:"]
    try:
        # The owner of plain keys is written there for all to see.
        owner = [keyspace.OWNER] if keyspace.prefix() else []
        return [*map(keyspace.pattern, starts), *owner]
    except CacheUnavailable:  # Who owns the plain keys, it may not say.
        return [f"{start}*" for start in starts]


def acl(*, keys: bool = True) -> str:
    """The rules that give a user what the layer uses; *keys* fails for one who has all of them."""
    database = int(transport.client().connection_pool.connection_kwargs.get("db") or 0)
    names = [*commands(), *(["select"] if database else [])]
    return " ".join([*(_rules_of_keys() if keys else []), *(f"+{name}" for name in names)])


def _rules_of_keys() -> list[str]:
    return [f"~{pattern}" for pattern in key_patterns()]


def _problems(connection: Any) -> Iterator[CheckMessage]:
    yield from _refused(connection)
    try:
        found = incarnation.fetch(connection)
    except incarnation.Nameless:
        yield Error(
            "This Redis says no run_id or no master_replid in INFO: nobody could tell one that was "
            "restarted or failed over, with other data, from the one before. The cache never "
            "uses it.",
            hint="Connect to the Redis or Valkey itself, not to a proxy that hides it, or use "
            "a server that says it.",
            id="cachelayer.E022",
        )
    except ResponseError:
        return  # Said already.
    else:
        if found.danger:
            yield _evicting(connection, found.danger)


def _refused(connection: Any) -> Iterator[CheckMessage]:
    answers = _try_all(connection)
    refused = [name for name, answer in answers.items() if _forbids(answer, "run")]
    keys = _refused_keys(connection)
    if refused or keys:
        yield _forbidden(_user(vars(connection)), refused, keys)
    if unknown := [name for name, answer in answers.items() if "unknown command" in str(answer)]:
        yield Error(
            f"This Redis has no {_listed(unknown)}, which the cache needs: it never uses it.",
            hint="If redis.conf renames or disables it (rename-command), take that away. A server "
            "that is only compatible with Redis may lack it: use Redis or Valkey.",
            id="cachelayer.E025",
        )


def _try_all(connection: Any) -> dict[str, Any]:
    """What the server says to each command of ours; a refusal is a ``ResponseError``."""
    names = [name for name in _HARMLESS if name in commands()]
    tried = [(*name.upper().split("|"), *_HARMLESS[name]) for name in names]
    return dict(zip(names, incarnation.ask(connection, *tried), strict=True))


def _refused_keys(connection: Any) -> list[str]:
    """Patterns of ours that the user may not read, or not write."""
    refused = []
    for pattern in key_patterns():
        key = pattern.replace("*", "cachelayer-probe")
        answers = incarnation.ask(connection, ("GET", key), ("UNLINK", key))
        if any(_forbids(answer, "access") for answer in answers):
            refused.append(pattern)
    return refused


def _forbids(answer: Any, what: str) -> bool:
    return isinstance(answer, NoPermissionError) and f"permissions to {what}" in str(answer)


def _forbidden(user: str, names: Sequence[str], keys: Sequence[str]) -> CheckMessage:
    missing = [f"run {_listed(names)}"] if names else []
    missing += [f"use the keys {', '.join(keys)}"] if keys else []
    allow = f"Allow it what the cache uses: ACL SETUSER {user} {acl(keys=bool(keys))}"
    if not keys and {"get", "unlink", "select"} & set(names):
        # Whether it may use the keys could not be tried; and who has all is not given some.
        allow += f". Unless it may use every key, also {' '.join(_rules_of_keys())}"
    return Error(
        f"The Redis user {user!r} may not {', nor '.join(missing)}: the cache needs it, and never "
        "uses this Redis without.",
        hint=allow,
        id="cachelayer.E021",
    )


def _evicting(connection: Any, danger: str) -> CheckMessage:
    [info] = incarnation.ask(connection, ("INFO", "memory"))
    if not eviction.memory(info, partial(incarnation.ask, connection)).is_known:
        return Error(f"{danger} The cache never reads it.", id="cachelayer.E024")
    return Error(
        f"{danger} It could take the mark of a transaction that is committing: the cache never "
        "reads it.",
        hint="CONFIG SET maxmemory-policy volatile-lru, and the same in redis.conf. Marks have no "
        "TTL: every volatile-* policy spares them.",
        id="cachelayer.E023",
    )


def _user(options: Mapping[str, Any]) -> str:
    return str(options.get("username") or "default")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("|", " ").upper() for name in names)
