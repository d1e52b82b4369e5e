"""The settings of the cache layer: the dictionary ``CACHELAYER``, typed, with defaults.

All times are in seconds. ``checks.py`` refuses values that break a promise;
``manage.py cache_settings`` shows what each means and what is in force.
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


#: Options of earlier releases, and what became of them.
_GONE = {
    "MARK_LIFETIME": "is needed no more: Postgres says whether a mark's transaction has ended. "
    "Remove it.",
}
#: Options that have another name now; the former one is taken for one release.
RENAMED = {"LOOK_INTERVAL": "DRAIN_INTERVAL"}


@dataclass(frozen=True, slots=True)
class Settings:
    """One value per option; an option that is not given keeps its default."""

    ENABLED: bool = _option(
        True,
        "whether this process uses the cache; if not, it reads from Postgres, and what it writes "
        "is logged for those that do",
    )
    CACHE_ALIAS: str = _option("default", "the alias in `CACHES` whose connection is used")
    NAMESPACE: str = _option(
        "auto",
        'what keys in Redis begin with; `"auto"`: nothing for the first database that uses this '
        'Redis, its name and a hash for any other; `""`: nothing',
    )
    TENANT: str = _option(
        "",
        "the path of a function that answers, for a connection, the schema of the tenant that it "
        'is at, or `""`; not needed with django-tenants',
    )
    ROW_TTL: float = _option(300.0, "how long a cached row lives")
    ROW_TTL_JITTER: float = _option(
        0.1,
        "by which share at most that is shortened, so that rows do not expire together",
    )
    NULL_TTL: float = _option(5.0, 'how long "no such row" is remembered')
    VARIANT_LIFETIME: float = _option(
        3600.0,
        "how long rows of a release that no process uses any more are kept; see Deploys",
    )
    LEASE_LIFETIME: float = _option(
        5.0,
        "how long one reader may take to load a row and still fill it",
    )
    LEASE_WAIT: float = _option(0.25, "how long a reader waits for the row that another is loading")
    PUSH_LIMIT: int = _option(
        1000,
        "rows that one transaction pushes; a larger one invalidates instead",
    )
    COUNT_INTERVAL: float = _option(1.0, "how often a process adds its counts to the totals")
    PROBE_INTERVAL: float = _option(
        0.25,
        "how often a process whose gate is open looks whether Redis answers again",
    )
    SETTLING_TIME: float = _option(
        0.6,
        "how long a reconcile waits for writers that go without marks; twice `PROBE_INTERVAL` "
        "or more",
    )
    DRAIN_INTERVAL: float = _option(
        1.0,
        "how often a process that serves hits drains the repair log, if anything is in it",
    )
    PARTITION: str = _option(
        "bounded",
        'what a Redis cut off from some processes only costs: `"bounded"` staleness, or '
        'with `"strict"` none',
    )
    TRUST_LIFETIME: float = _option(
        1.0,
        'with `"strict"`: how long a process serves hits on one answer from Postgres',
    )
    REQUEST_BUDGET: float = _option(
        0.06,
        "what one request may wait for Redis before it reads without it; not below the socket "
        "timeouts",
    )
    CHECK_SHARE: float = _option(
        0.0001,
        "the share of hits that is compared with Postgres in the background, up to five a "
        "second in a process; 0 turns it off",
    )
    BASE_URL: str = _option(
        "",
        "what absolute URLs in rows begin with, such as `https://example.org`; a serializer that "
        "shows hyperlinks or files needs it",
    )
    RECORDER: str = _option(
        "auto",
        'what a serializer reads that is not its row: `"auto"` an exception in tests and an error '
        'in the log with `DEBUG`, `"log"` that error everywhere, `"off"` nothing',
    )
    TRACE_LINK: str = _option(
        "",
        "where people see a trace, with `{trace_id}` in it; responses of traced requests link "
        "there",
    )
    FAST_HITS: bool = _option(
        True,
        "whether hits of public rows are answered below Django's handler (`wsgi.fast_hits`)",
    )

    @classmethod
    def read(cls) -> "Settings":
        """The settings as configured; ``ImproperlyConfigured`` names what is unknown."""
        given: dict[str, Any] = {
            RENAMED.get(name, name): value for name, value in configured().items()
        }
        if gone := sorted(set(given) & _GONE.keys()):
            raise ImproperlyConfigured(
                " ".join(f"CACHELAYER[{name!r}] {_GONE[name]}" for name in gone)
            )
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ImproperlyConfigured(
                f"CACHELAYER has no option {', '.join(unknown)}. "
                f"Remove it, or use one of {', '.join(sorted(known))}."
            )
        return cls(**given)


def configured() -> dict[str, Any]:
    """The dictionary as it is in the project's settings."""
    found: dict[str, Any] = getattr(django_settings, "CACHELAYER", None) or {}
    return found


@lru_cache(maxsize=1)
def get() -> Settings:
    """The settings in force."""
    return Settings.read()


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "CACHELAYER":
        get.cache_clear()


setting_changed.connect(_forget, dispatch_uid="cachelayer.conf")
