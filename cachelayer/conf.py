"""The settings of the cache layer: the dictionary ``CACHELAYER``, typed, with defaults.

All times are in seconds. ``checks.py`` refuses values that break a promise.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


@dataclass(frozen=True, slots=True)
class Settings:
    """One value per option; an option that is not given keeps its default."""

    #: The alias in ``CACHES`` whose django-redis connection is used.
    CACHE_ALIAS: str = "default"
    #: How long a cached row lives.
    ROW_TTL: float = 300.0
    #: A row's lifetime is shortened by up to this share, so that rows that were
    #: cached together do not expire together.
    ROW_TTL_JITTER: float = 0.1
    #: How long "no such row" is remembered.
    NULL_TTL: float = 5.0
    #: How long a mark lives: longer than any transaction may last.
    MARK_LIFETIME: float = 60.0
    #: How long one reader may take to load a row and still fill it.
    LEASE_LIFETIME: float = 5.0
    #: How long a reader waits for the row that another reader is loading.
    LEASE_WAIT: float = 0.25
    #: Rows that one transaction pushes; it invalidates the ones above.
    PUSH_LIMIT: int = 1000
    #: How often a process adds its counts of hits and misses to the totals.
    COUNT_INTERVAL: float = 1.0
    #: How often a process whose gate is open looks whether Redis answers again.
    PROBE_INTERVAL: float = 0.25
    #: How long a reconcile waits for the writers that may have gone without a mark.
    SETTLING_TIME: float = 0.6
    #: How often a process that serves hits looks for keys that others have logged.
    LOOK_INTERVAL: float = 1.0
    #: What a partition of Redis from some processes may cost: "bounded" staleness, or
    #: with "strict" none, for a second's wait of the first write.
    PARTITION: str = "bounded"
    #: With "strict": how long a process may serve hits on one answer from Postgres.
    TRUST_LIFETIME: float = 1.0
    #: What one request may spend waiting for Redis before it goes on without it.
    REQUEST_BUDGET: float = 0.06
    #: The share of hits that are compared with Postgres in the background; 0: none.
    CHECK_SHARE: float = 0.0001
    #: Where people see a trace, with {trace_id} in it; the responses of traced requests
    #: link there. Empty: no link.
    TRACE_LINK: str = ""
    #: Whether ``wsgi.fast_hits`` answers hits below Django's handler.
    FAST_HITS: bool = True

    @classmethod
    def read(cls) -> "Settings":
        """The settings as configured; ``ImproperlyConfigured`` names what is unknown."""
        given: dict[str, Any] = getattr(django_settings, "CACHELAYER", None) or {}
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ImproperlyConfigured(
                f"CACHELAYER has no option {', '.join(unknown)}. "
                f"Remove it, or use one of {', '.join(sorted(known))}."
            )
        return cls(**given)


@lru_cache(maxsize=1)
def get() -> Settings:
    """The settings in force."""
    return Settings.read()


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "CACHELAYER":
        get.cache_clear()


setting_changed.connect(_forget, dispatch_uid="cachelayer.conf")
