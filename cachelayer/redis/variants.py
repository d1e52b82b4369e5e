"""Releases side by side: the keys that hold rows of this release's shape.

Two releases that render a row differently must not serve each other's bytes, and both must see a
write by either.

- One shape owns the plain keys of a prefix (``item:5``): the first one, which Postgres remembers.
  The owner never changes while processes run, so no process takes another shape for its own.
- Any other shape keeps its rows under different keys, its *variants* (``item~1f0c9a2e55d0:5``).
- A hash in Redis, ``cachelayer:variants``, lists the variants in use. Scripts that mark or repair a
  row read the hash in the same step, and delete the row's variants. So no process has to know which
  releases run. A reader's lease enters its variant there.
- Only plain keys hold marks. The lease of a variant checks its plain key for marks.

The list is in Redis, not in Postgres. A writer would read a list in Postgres through its snapshot,
and mark the variants that were in use when its transaction began.

1. A writer marks the plain key, as always. 2. A variant is entered. 3. Its reader takes the lease
and loads the old row. 4. The writer commits, and is killed before its push. 5. The reader fills:
stale. So a variant's lease is refused while the plain key is marked.

1. A writer of the variant's release marks and pauses. 2. The variant is retired. 3. A second writer
marks the row. 4. The variant is entered again. 5. The second writer commits, and is killed. 6. The
first writer pushes: stale. So a writer may push into a variant only if the last mark of the plain
key is its own.
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

#: By key prefix: this release's shape, unless it is ``PLAIN``. None: not known yet.
_own: dict[str, str] | None = None


def own() -> dict[str, str]:
    """The shapes of this release by key prefix, without those that own the plain keys.

    The first call asks Postgres; it raises ``CacheUnavailable`` if Postgres does not answer.
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


def is_known() -> bool:
    """Whether ``own`` answers at once."""
    return _own is not None


def variant(key: str) -> str:
    """The variant that holds this release's row of *key*: ``item~1f0c9a2e55d0``, or ""."""
    start = key.partition(":")[0]
    shape = of(start)
    return shape and f"{start}~{shape}"


def of(start: str) -> str:
    """This release's shape of the rows whose keys have *start* before the colon."""
    return own().get(start.rpartition("/")[2], PLAIN)


def stored(keys: Iterable[str]) -> list[str]:
    """The keys under which this release stores the rows of *keys*."""
    if not own():
        return [*keys]
    return [_stored(key) for key in keys]


def _stored(key: str) -> str:
    start = variant(key)
    return f"{start}:{key.partition(':')[2]}" if start else key


def plain(key: str) -> str:
    """The plain key for *key*, which may belong to any release."""
    if "~" not in key:
        return key
    start, colon, text = key.partition(":")
    return f"{start.partition('~')[0]}{colon}{text}"


def claim(using: str) -> None:
    """Give this release the plain keys of every model in the database *using*, unless owned.

    Raises ``DatabaseError``.
    """
    prints = _prints(using)
    # On a separate connection, so that a rollback does not undo it.
    with closing(connections.create_connection(using)) as fresh, fresh.cursor() as cursor:
        cursor.execute(_CLAIM, [list(prints), list(prints.values())])


def forget() -> None:
    """Forget the shapes, as in a new process."""
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
    """The fingerprint of the rows of *cached*."""
    if isinstance(cached, Computed):
        return fingerprint.of_function(cached.function, cached.shown_models())
    return fingerprint.of(cached.model, cached.serializer, cached.version)


def _follow(*, setting: str, **kwargs: object) -> None:
    # In a test (``override_settings``), this process is another release until the setting is back.
    if setting in fingerprint.SETTINGS:
        forget()


setting_changed.connect(_follow, dispatch_uid="cachelayer.shapes")
os.register_at_fork(after_in_child=forget)
