"""The settings of the cache layer: the dictionary ``CACHELAYER``, typed, with defaults.

All times are in seconds. The system checks (``checks/``) refuse values that break a promise.
``manage.py cache_settings`` shows the meaning and the current value of each option.
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


#: Options that were removed, and why.
_GONE = {
    "MARK_LIFETIME": "is not needed any more: Postgres knows whether a mark's transaction ended. "
    "Remove it.",
}
#: Renamed options, by their former names. The former names work for one more release.
RENAMED = {"LOOK_INTERVAL": "DRAIN_INTERVAL"}


@dataclass(frozen=True, slots=True)
class Settings:
    """One value per option; an option that is not set has its default."""

    ENABLED: bool = _option(
        True,
        "whether this process uses the cache; if not, it reads from Postgres, and logs its writes "
        "for the processes that do use it",
    )
    CACHE_ALIAS: str = _option("default", "the alias in `CACHES` whose connection is used")
    NAMESPACE: str = _option(
        "auto",
        'the start of every key in Redis; `"auto"`: empty for the first database that uses this '
        'Redis, the name and a hash for any other database; `""`: empty',
    )
    TENANT: str = _option(
        "",
        "the path of a function that takes a connection and returns the schema of its current "
        'tenant, or `""`; not needed with django-tenants',
    )
    ROW_TTL: float = _option(300.0, "how long a cached row lives")
    ROW_TTL_JITTER: float = _option(
        0.1,
        "the largest random share by which a row's life is shortened, so that rows do not expire "
        "together",
    )
    NULL_TTL: float = _option(5.0, 'how long the cache remembers "no such row"')
    VARIANT_LIFETIME: float = _option(
        3600.0,
        "how long the rows of a version of your code stay after its last process ended; see "
        "Deploys",
    )
    LEASE_LIFETIME: float = _option(
        5.0,
        "how long one reader may take to load a row and still fill it",
    )
    LEASE_WAIT: float = _option(
        0.25, "how long a reader waits for a row that another reader is loading"
    )
    PUSH_LIMIT: int = _option(
        1000,
        "how many rows one transaction may push; a larger transaction invalidates its rows instead",
    )
    COUNT_INTERVAL: float = _option(1.0, "how often a process adds its counts to the totals")
    PROBE_INTERVAL: float = _option(
        0.25,
        "how often a process whose gate is open checks whether Redis answers again",
    )
    SETTLING_TIME: float = _option(
        0.6,
        "how long a reconcile waits for processes that write without marks; at least twice "
        "`PROBE_INTERVAL`",
    )
    DRAIN_INTERVAL: float = _option(
        1.0,
        "how often a process that serves hits drains the repair log, unless it is empty",
    )
    PARTITION: str = _option(
        "bounded",
        'what may happen when only some processes can reach Redis: `"bounded"`: stale reads for a '
        'bounded time; `"strict"`: no stale read',
    )
    TRUST_LIFETIME: float = _option(
        1.0,
        'with `"strict"`: how long one answer from Postgres lets a process serve hits',
    )
    REQUEST_BUDGET: float = _option(
        0.06,
        "how long one request may wait for Redis in all, before it reads without Redis; at least "
        "the socket timeouts",
    )
    CHECK_SHARE: float = _option(
        0.0001,
        "the share of hits that the live check compares with Postgres in the background, at most "
        "five per second and process; 0 turns it off",
    )
    BASE_URL: str = _option(
        "",
        "the start of absolute URLs in rows, such as `https://example.org`; needed when a "
        "serializer shows hyperlinks or files",
    )
    RECORDER: str = _option(
        "auto",
        'what happens when a serializer reads undeclared data: `"auto"`: an exception in tests, '
        'and an error in the log with `DEBUG`; `"log"`: that error everywhere; `"off"`: nothing',
    )
    TRACE_LINK: str = _option(
        "",
        "the URL of a trace for people, with `{trace_id}` in it; the header `Link` of "
        "`cachelayer.telemetry.opentelemetry.response_headers(span)` leads to it. Add these "
        "headers to your responses, as the lab does",
    )
    FAST_HITS: bool = _option(
        True,
        "whether `wsgi.fast_hits` and `asgi.front` answer hits of public rows before Django runs",
    )

    @classmethod
    def read(cls) -> "Settings":
        """The settings as configured. ``ImproperlyConfigured`` names unknown options."""
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
    """The dictionary ``CACHELAYER`` from the project's settings."""
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
