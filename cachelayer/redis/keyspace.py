"""Which keys in a Redis are this project's, where several databases share it.

Everywhere in this process a key is as the repair log has it (``item:5``). Here it becomes the
one in Redis:

- The first database that uses a Redis owns its plain keys (``item:5``): ``cachelayer:owner``
  names the database by its server's system identifier, its name, and the log's schema.
- The keys of every other begin with its name and a hash of that (``staging.1f0c9a2e/item:5``),
  so that staging beside production, or a test run beside development, shares nothing: no
  row, no mark, no incarnation, no count.
- A test database of Django's never owns the plain keys: it is gone in a minute.
- ``NAMESPACE``, or the ``KEY_PREFIX`` of the cache, says outright what keys begin with.

Who owns the plain keys changes only with a FLUSHALL, and is asked by every reconcile that
follows it. Until then another owner's rows are told by their epoch: no two databases have one.
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
from cachelayer.redis import epoch, variants
from cachelayer.representation import registry, side_cursor

OWNER: Final = "cachelayer:owner"
#: The value of ``NAMESPACE`` that leaves it to the owner.
AUTO: Final = "auto"

#: Sends commands on a connection that is not verified; answers theirs.
Ask = Callable[..., list[Any]]

_IDENTITY: Final = """
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), current_database(),
    coalesce((SELECT relnamespace::regnamespace::text FROM pg_class
              WHERE oid = to_regclass('cachelayer_repair')), current_schema()))
"""

_prefix: str | None = None
#: What the settings said of it when it was found.
_last_said: str | None = None
#: By alias: the database whose prefix that is.
_names: dict[str, str] = {}
#: By a connection of its own, which is not verified; see ``ask_by``.
_ask_fresh: Ask | None = None


def ask_by(ask: Ask) -> None:
    """Let *ask* be the way to Redis of a process that does not know its prefix yet."""
    global _ask_fresh
    _ask_fresh = ask


def prefix() -> str:
    """What this project's keys in Redis begin with; "" for plain keys.

    Asks Postgres and Redis the first time; raises ``CacheUnavailable`` while they do not answer.
    """
    assert _ask_fresh is not None
    return prefix_by(_ask_fresh)


def prefix_by(ask: Ask) -> str:
    """As ``prefix``; Redis is asked by *ask*, and what that raises comes out as it is."""
    if _prefix is not None:
        return _prefix
    if not conf.get().ENABLED:
        raise SwitchedOff
    try:
        return decide(ask)
    except epoch.UNKNOWN as error:
        raise CacheUnavailable(
            f"Postgres does not say which database this is: {error}. If its user may not, set "
            "CACHELAYER['NAMESPACE']."
        ) from error


def of(key: str) -> str:
    """The key in Redis of *key*; raises as ``prefix``."""
    return f"{prefix()}{key}"


def all_of(keys: Iterable[str]) -> list[str]:
    """As ``of``, of each."""
    return [f"{start}{key}" for key in keys] if (start := prefix()) else [*keys]


def pattern(begins: str, then: str = "") -> str:
    """Keys in Redis that begin so, for SCAN, with the glob *then*; raises as ``prefix``."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", of(begins)) + then + "*"


def decide(ask: Ask, *, claim: bool = False) -> str:
    """Find the prefix by *ask*; *claim* the plain keys where nobody owns them.

    Raises ``DatabaseError`` or ``InterfaceError``, and whatever *ask* does.
    """
    global _prefix, _last_said
    said = _last_said = _said()
    _prefix = found = _owned(ask, claim) if said is None else said
    return found


def _said() -> str | None:
    namespace = conf.get().NAMESPACE
    if namespace == AUTO:
        namespace = django_settings.CACHES[conf.get().CACHE_ALIAS].get("KEY_PREFIX", "")
        if not namespace:
            return None
    return namespace and f"{namespace}/"


def _owned(ask: Ask, claim: bool) -> str:
    identity = ",".join(_identity(using) for using in _databases())
    own = f"{_readable()}.{hashlib.sha256(identity.encode()).hexdigest()[:8]}/"
    if any(map(is_for_tests, _databases())):
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
    """Whether the database *using* is one that Django's test runner has made."""
    settings = connections[using].settings_dict
    name = str(settings["NAME"])
    return name.startswith(TEST_DATABASE_PREFIX) or name == settings["TEST"]["NAME"]


def note(connection: BaseDatabaseWrapper) -> bool:
    """*connection* leads to its database anew; answers whether that is another than before.

    Django's test runner changes where an alias leads, in the middle of a process.
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
    """As in a new process."""
    global _prefix
    _prefix = None


def _follow(*, setting: str, **kwargs: object) -> None:
    if setting in ("CACHES", "CACHELAYER"):
        with suppress(ImproperlyConfigured, KeyError):  # The checks say so.
            if _said() != _last_said:
                forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.keyspace")
os.register_at_fork(after_in_child=forget)
