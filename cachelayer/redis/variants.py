"""Releases side by side: which keys hold rows of this release's shape.

Two releases that render a row differently must not serve each other's bytes, and a write by
either must be seen by both.

- One shape owns the plain keys of a prefix (``item:5``): the one that came first, as Postgres
  remembers. That never changes while processes run, so no process can take another's for its own.
- Any other keeps its rows under keys of its own, its *variants* (``item~1f0c9a2e55d0:5``).
- Which variants are in use is a hash in Redis, ``cachelayer:variants``. Scripts that mark or repair
  a row read it in the same step, and delete the row's variants: so nobody has to know who else
  is running. A reader's lease enters its variant there.
- Only plain keys hold marks. A variant's lease asks its plain key for them.

In Redis, and not in Postgres as the design had it: a writer would see a list in Postgres
through its snapshot, and mark what was in use when its transaction began.

1. A writer marks the plain key, which it always does. 2. A variant is entered. 3. Its reader
takes the lease and loads the old row. 4. The writer commits, and is killed before its push.
5. The reader fills: stale. So a variant's lease is refused while the plain key is marked.

1. A writer of the variant's release marks and pauses. 2. The variant is taken away. 3. A second
writer marks the row. 4. The variant is entered again. 5. The second commits, and is killed. 6. The
first pushes: stale. So a push into a variant needs the last mark of the plain key to be its own.
"""

import os
from collections.abc import Iterable
from contextlib import closing
from typing import Final

from django.core.signals import setting_changed
from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable, SwitchedOff
from cachelayer.representation import fingerprint, registry, side_cursor
from cachelayer.representation.computed import Computed
from cachelayer.representation.registry import Cached

#: The hash of variants in use: ``item~1f0c9a2e55d0`` → ``live``, or ``closing`` and a token.
KEY: Final = "cachelayer:variants"
#: The shape that owns the plain keys.
PLAIN: Final = ""

_CLAIM: Final = """
INSERT INTO cachelayer_shape (prefix, fingerprint) SELECT unnest(%s::text[]), unnest(%s::text[])
ON CONFLICT DO NOTHING
"""

#: By key prefix: this release's shape, where it is not ``PLAIN``; None: not known yet.
_own: dict[str, str] | None = None


def own() -> dict[str, str]:
    """The shapes of this release by key prefix, but for those that own the plain keys.

    Asks Postgres the first time; raises ``CacheUnavailable`` while it does not answer.
    """
    global _own
    found = _own
    if found is None:
        if not conf.get().ENABLED:
            raise SwitchedOff
        try:
            found = _own = _ask()
        except (DatabaseError, InterfaceError) as error:
            raise CacheUnavailable(f"Postgres does not say who owns plain keys: {error}") from error
    return found


def variant(key: str) -> str:
    """The variant in which this release has the row of *key*: ``item~1f0c9a2e55d0``, or ""."""
    start = key.partition(":")[0]
    shape = of(start)
    return shape and f"{start}~{shape}"


def of(start: str) -> str:
    """This release's shape of rows whose keys have *start* before the colon."""
    return own().get(start.rpartition("/")[2], PLAIN)


def stored(keys: Iterable[str]) -> list[str]:
    """The keys under which this release has the rows of *keys*."""
    if not own():
        return [*keys]
    return [_stored(key) for key in keys]


def _stored(key: str) -> str:
    start = variant(key)
    return f"{start}:{key.partition(':')[2]}" if start else key


def plain(key: str) -> str:
    """The plain key of the row that *key*, of whichever release, is of."""
    start, colon, text = key.partition(":")
    return f"{start.partition('~')[0]}{colon}{text}"


def claim(using: str) -> None:
    """Give the plain keys of every model of the database *using* to this release, if nobody's.

    Raises ``DatabaseError``.
    """
    prints = _prints(using)
    # On a connection of its own: a transaction that is rolled back would take it back.
    with closing(connections.create_connection(using)) as fresh, fresh.cursor() as cursor:
        cursor.execute(_CLAIM, [list(prints), list(prints.values())])


def forget() -> None:
    """As in a new process."""
    global _own
    _own = None


def _ask() -> dict[str, str]:
    found: dict[str, str] = {}
    for using in registry.databases():
        prints = _prints(using)
        owners = _owners(using)
        if prints.keys() - owners.keys():
            claim(using)
            owners = _owners(using)
        found |= {prefix: own for prefix, own in prints.items() if owners.get(prefix) != own}
    return found


def _owners(using: str) -> dict[str, str]:
    with side_cursor.cursor(using) as cursor:
        cursor.execute("SELECT prefix, fingerprint FROM cachelayer_shape")
        return dict(cursor.fetchall())


def _prints(using: str) -> dict[str, str]:
    return {
        cached.prefix: print_of(cached) for cached in registry.every() if cached.database == using
    }


def print_of(cached: Cached) -> str:
    """The fingerprint of what *cached* shows."""
    if isinstance(cached, Computed):
        return fingerprint.of_function(cached.function, cached.shown_models())
    return fingerprint.of(cached.model, cached.serializer, cached.version)


def _follow(*, setting: str, **kwargs: object) -> None:
    # In a test (``override_settings``): until it is set back this process is another release.
    if setting in fingerprint.SETTINGS:
        forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.shapes")
os.register_at_fork(after_in_child=forget)
