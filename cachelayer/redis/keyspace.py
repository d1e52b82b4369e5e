"""The keys in Redis that belong to this project, when several databases share a Redis.

Everywhere else in this process, keys have the form of the repair log (``item:5``). This module
turns them into keys in Redis:

- The first database that uses a Redis owns its plain keys (``item:5``). ``cachelayer:owner``
  identifies the database by its server's system identifier, its name, and the log's schema.
- The keys of any other database begin with its name and a hash of its identity
  (``staging.1f0c9a2e/item:5``). So staging beside production, or a test run beside development,
  shares nothing: no row, no mark, no incarnation, no count.
- Django's test databases never own the plain keys, because they exist for a minute only.
- ``NAMESPACE``, or the ``KEY_PREFIX`` of the cache, sets the start of keys explicitly.
- On Redis Cluster, no database owns the plain keys: one node that is flushed must not give them to
  another. There, keys also begin with the tag of their shard (``shards.py``).

The owner of the plain keys changes only after a FLUSHALL, and every reconcile after it asks for the
owner. Until then, the epoch tells another owner's rows apart: no two databases share an epoch.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.creation import TEST_DATABASE_PREFIX

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable, SwitchedOff
from cachelayer.redis import epoch, shards, variants
from cachelayer.representation import registry, side_cursor

OWNER: Final = "cachelayer:owner"
#: The value of ``NAMESPACE`` for which ``cachelayer:owner`` decides.
AUTO: Final = "auto"

#: Sends commands on a connection that is not verified; returns their answers.
Ask = Callable[..., list[Any]]

_IDENTITY: Final = """
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), current_database(),
    coalesce((SELECT relnamespace::regnamespace::text FROM pg_class
              WHERE oid = to_regclass('cachelayer_repair')), current_schema()))
"""

_prefix: str | None = None
#: The settings from which the prefix was found.
_last_said: str | None = None
#: By alias: the database that the prefix belongs to.
_names: dict[str, str] = {}
#: Asks on a separate connection, which is not verified; see ``ask_by``.
_ask_fresh: Ask | None = None


def ask_by(ask: Ask) -> None:
    """Use *ask* to talk to Redis while this process does not know its prefix yet."""
    global _ask_fresh
    _ask_fresh = ask


def prefix() -> str:
    """The start of this project's keys in Redis; "" for plain keys.

    The first call asks Postgres and Redis; it raises ``CacheUnavailable`` if they do not answer.
    """
    assert _ask_fresh is not None
    return prefix_by(_ask_fresh)


def prefix_by(ask: Ask) -> str:
    """Like ``prefix``, but *ask* talks to Redis, and its errors are passed on unchanged."""
    if _prefix is not None:
        return _prefix
    if not conf.get().ENABLED:
        raise SwitchedOff
    try:
        return decide(ask)
    except epoch.UNKNOWN as error:
        raise CacheUnavailable(
            f"Postgres does not tell which database this is: {error}. If the user may not ask, set "
            "CACHELAYER['NAMESPACE']."
        ) from error


def is_known() -> bool:
    """Whether ``prefix`` answers at once."""
    return _prefix is not None


def of(key: str) -> str:
    """The key in Redis for *key*; raises as ``prefix`` does."""
    if shards.are_used():
        return f"{start(shards.of(key))}{key}"
    return f"{prefix()}{key}"


def start(shard: int) -> str:
    """What the keys of *shard* begin with; raises as ``prefix`` does."""
    return f"{shards.starts()[shard]}{prefix()}"


def without_start(stored: str) -> str:
    """The key for *stored*, a key of ours in Redis; ``ValueError`` if it belongs to no shard."""
    if shards.are_used():
        stored = shards.plain(stored)
    return stored.removeprefix(prefix())


def all_of(keys: Iterable[str], shard: int | None = None) -> list[str]:
    """The keys in Redis for *keys*; with *shard*, all of them are in that shard."""
    if shard is not None:
        begins = start(shard)
        return [f"{begins}{key}" for key in keys]
    if shards.are_used():
        return [*map(of, keys)]
    return [f"{begins}{key}" for key in keys] if (begins := prefix()) else [*keys]


def of_every_shard(key: str) -> list[str]:
    """The keys in Redis for *key*, which every shard has; one key if there are no shards."""
    if not shards.are_used():
        return [of(key)]
    return [f"{start(shard)}{key}" for shard in range(shards.COUNT)]


def pattern(begins: str, then: str = "") -> str:
    """A SCAN pattern: keys that start with *begins*, then the glob *then*; raises as ``prefix``."""
    escaped = re.sub(r"([*?\[\]\\])", r"\\\1", f"{prefix()}{begins}")
    return f"{'{*}' if shards.are_used() else ''}{escaped}{then}*"


def decide(ask: Ask, *, claim: bool = False) -> str:
    """Find the prefix with *ask*; with *claim*, take the plain keys if they have no owner.

    Raises ``DatabaseError`` or ``InterfaceError``, and what *ask* raises.
    """
    global _prefix, _last_said
    _last_said = named = said()
    _prefix = found = _owned(ask, claim) if named is None else named
    return found


def said() -> str | None:
    """The prefix that the settings say; None if ``cachelayer:owner`` decides."""
    namespace = conf.get().NAMESPACE
    if namespace == AUTO:
        namespace = django_settings.CACHES[conf.get().CACHE_ALIAS].get("KEY_PREFIX", "")
        if not namespace:
            return None
    return namespace and f"{namespace}/"


def _owned(ask: Ask, claim: bool) -> str:
    identity = ",".join(_identity(using) for using in _databases())
    own = f"{_readable()}.{hashlib.sha256(identity.encode()).hexdigest()[:8]}/"
    if shards.are_used() or any(map(is_for_tests, _databases())):
        return own
    set_first = [("SET", OWNER, identity, "NX")] if claim else []
    owner = ask(*set_first, ("GET", OWNER))[-1]
    if isinstance(owner, Exception):
        raise owner
    return "" if owner in (None, identity.encode()) else own


def _identity(using: str) -> str:
    with side_cursor.cursor(using) as cursor:
        cursor.execute(_IDENTITY)
        [identity] = cursor.fetchone()
    return str(identity)


def _readable() -> str:
    name = "-".join(str(connections[using].settings_dict["NAME"]) for using in _databases())
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40]


def _databases() -> list[str]:
    return sorted(registry.databases())


def is_for_tests(using: str) -> bool:
    """Whether Django's test runner has made the database *using*."""
    settings = connections[using].settings_dict
    name = str(settings["NAME"])
    return name.startswith(TEST_DATABASE_PREFIX) or name == settings["TEST"]["NAME"]


def note(connection: BaseDatabaseWrapper) -> bool:
    """Note that *connection* was opened; return whether its alias now leads to another database.

    Django's test runner changes the database of an alias while the process runs.
    """
    name = str(connection.settings_dict["NAME"])
    before = _names.setdefault(connection.alias, name)
    _names[connection.alias] = name
    if before != name:
        forget()
        epoch.forget()
        variants.forget()
    return before != name


def forget() -> None:
    """Forget the prefix, as in a new process."""
    global _prefix
    _prefix = None


def _follow(*, setting: str, **kwargs: object) -> None:
    if setting in ("CACHES", "CACHELAYER"):
        with suppress(ImproperlyConfigured, KeyError):  # The system checks report these.
            if said() != _last_said:
                forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.keyspace")
os.register_at_fork(after_in_child=forget)
