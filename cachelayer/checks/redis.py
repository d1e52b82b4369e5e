"""Whether Redis gives the cache what it needs. ``check`` asks the server itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, Final

from django.core.checks import CheckMessage, Error
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from cachelayer.exceptions import CacheUnavailable
from cachelayer.redis import cluster, eviction, incarnation, keyspace, transport
from cachelayer.representation import registry, relations

_KEY: Final = "cachelayer:probe"
#: The commands that the layer's Python code sends; those of its scripts are read from the scripts.
SENT: Final = frozenset(
    {"dbsize", "eval", "evalsha", "exists", "get", "hdel", "hgetall", "hmget", "hset"}
    | {"info", "mget", "ping", "pttl", "scan", "set"}
)
#: Our commands, with arguments that are safe to try: they change nothing, or only an unused key.
#: Redis checks permission first, and only then refuses a hash command on a string.
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
    """The problems found; none while Redis is away, because it may be away at any time."""
    try:
        with transport.fresh_connection() as connection:
            return list(_problems(connection))
    except AuthenticationError as error:
        return [
            Error(
                f"Redis refuses the login ({error}), so the cache never uses it.",
                hint="Set the right user and password in LOCATION or OPTIONS of CACHES.",
                id="cachelayer.E026",
            )
        ]
    except NoPermissionError:  # For example to select its database.
        return [
            _forbidden(_user(transport.client().connection_pool.connection_kwargs), ["select"], [])
        ]
    except (RedisError, OSError, CacheUnavailable):
        return []


def commands() -> list[str]:
    """Every command that the layer uses, by its ACL name."""
    found = set(SENT)
    for script in resources.files("cachelayer.redis").joinpath("lua").iterdir():
        for parts in _CALL.findall(script.read_text()):
            found.add("|".join(filter(None, parts)).lower())
    return sorted(found)


def key_patterns() -> list[str]:
    """The patterns of all keys that the layer uses."""
    prefixes = sorted(cached.prefix for cached in registry.every())
    rows = [f"{prefix}{sign}" for prefix in prefixes for sign in ":~"]
    stamps = [relations.SIGN] if any(cached.is_document for cached in registry.every()) else []
    starts = [*rows, *stamps, "cachelayer:", "{cachelayer:"]
    try:
        # Every database can read there which one owns the plain keys.
        owner = [keyspace.OWNER] if keyspace.prefix() else []
        return [*map(keyspace.pattern, starts), *owner]
    except CacheUnavailable:  # The user may not read who owns the plain keys.
        return [f"{start}*" for start in starts]


def acl(*, keys: bool = True) -> str:
    """The ACL rules for a user of the layer.

    Leave out *keys* for a user who may use every key: Redis refuses to add patterns there.
    """
    database = int(transport.client().connection_pool.connection_kwargs.get("db") or 0)
    names = [*commands(), *(["select"] if database else []), *_for_cluster()]
    return " ".join([*(_rules_of_keys() if keys else []), *(f"+{name}" for name in names)])


def _for_cluster() -> list[str]:
    """What a connection asks a cluster, before it is one to the primary of the slot."""
    is_slots = issubclass(
        transport.client().connection_pool.connection_class, cluster.SlotConnection
    )
    return ["cluster|slots"] if is_slots else []


def _rules_of_keys() -> list[str]:
    return [f"~{pattern}" for pattern in key_patterns()]


def _problems(connection: Any) -> Iterator[CheckMessage]:
    [info] = incarnation.ask(connection, ("INFO", "server"))
    is_node = eviction.field(info, "redis_mode") == "cluster"
    if is_node and not isinstance(connection, cluster.SlotConnection):
        yield Error(
            "This Redis is a node of a cluster, which has only some of the keys. The cache never "
            "uses it.",
            hint=f"Set CONNECTION_FACTORY in the OPTIONS of CACHES to {cluster.FACTORY!r}, and "
            'KEY_PREFIX to a word of this project in braces, such as "{shop}".',
            id="cachelayer.E027",
        )
        return
    yield from _refused(connection)
    try:
        found = incarnation.fetch(connection)
    except incarnation.Nameless:
        yield Error(
            "INFO of this Redis has no run_id or no master_replid, so a restart or a failover "
            "that changes the data would go unnoticed. The cache never uses this Redis.",
            hint="Connect to Redis or Valkey directly, not through a proxy that hides these "
            "fields, or use a server that has them.",
            id="cachelayer.E022",
        )
    except ResponseError:
        return  # _refused has reported it.
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
            f"This Redis has no {_listed(unknown)}, which the cache needs. The cache never uses "
            "this Redis.",
            hint="If rename-command in redis.conf renames or disables it, remove that line. "
            "Servers that are only compatible with Redis may lack it: use Redis or Valkey.",
            id="cachelayer.E025",
        )


def _try_all(connection: Any) -> dict[str, Any]:
    """The server's answer to each of our commands; a refusal is a ``ResponseError``."""
    names = [name for name in _HARMLESS if name in commands()]
    tried = [(*name.upper().split("|"), *_HARMLESS[name]) for name in names]
    return dict(zip(names, incarnation.ask(connection, *tried), strict=True))


def _refused_keys(connection: Any) -> list[str]:
    """Our key patterns that the user may not read or may not write."""
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
    allow = f"Allow what the cache uses: ACL SETUSER {user} {acl(keys=bool(keys))}"
    if not keys and {"get", "unlink", "select"} & set(names):
        # The keys could not be tried, and a user with all keys cannot be given patterns.
        allow += f". Unless it may use every key, also {' '.join(_rules_of_keys())}"
    return Error(
        f"The Redis user {user!r} may not {', nor '.join(missing)}. The cache needs this, and "
        "does not use Redis until it is allowed.",
        hint=allow,
        id="cachelayer.E021",
    )


def _evicting(connection: Any, danger: str) -> CheckMessage:
    [info] = incarnation.ask(connection, ("INFO", "memory"))
    if not eviction.memory(info, partial(incarnation.ask, connection)).is_known:
        return Error(f"{danger} The cache never reads it.", id="cachelayer.E024")
    return Error(
        f"{danger} It could evict the mark of a transaction that is committing, so the cache never "
        "reads it.",
        hint="CONFIG SET maxmemory-policy volatile-lru, and the same in redis.conf. Every "
        "volatile-* policy spares marks, because marks have no TTL.",
        id="cachelayer.E023",
    )


def _user(options: Mapping[str, Any]) -> str:
    return str(options.get("username") or "default")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("|", " ").upper() for name in names)
