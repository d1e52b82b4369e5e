"""System checks of settings, models, tenants, triggers and Redis."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from cachelayer import conf
from cachelayer.checks import redis
from cachelayer.redis import cluster
from cachelayer.representation import (
    dependencies,
    hyperlinks,
    library_classes,
    registration,
    registry,
)
from cachelayer.representation.registration import CachedModel
from cachelayer.tracking import triggers

_NEEDED_BACKEND = "django_redis.cache.RedisCache"
_POSITIVE = (
    "ROW_TTL",
    "NULL_TTL",
    "LEASE_LIFETIME",
    "VARIANT_LIFETIME",
    "COUNT_INTERVAL",
    "PROBE_INTERVAL",
    "SETTLING_TIME",
    "DRAIN_INTERVAL",
    "REQUEST_BUDGET",
    "TRUST_LIFETIME",
)
_TIMEOUTS = ("SOCKET_CONNECT_TIMEOUT", "SOCKET_TIMEOUT")
_NOT_NEGATIVE = ("LEASE_WAIT", "PUSH_LIMIT")


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """CACHELAYER: known names, right types, sensible values."""
    try:
        settings = conf.Settings.read()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="cachelayer.E001")]
    problems = list(_wrong_types(settings)) or list(_wrong_values(settings))
    return [*problems, *(_wrong_cache(settings) if settings.ENABLED else ())]


@register()
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """CACHELAYER: no option has a former name."""
    return [
        Warning(
            f"CACHELAYER[{former!r}] is now called {name!r}. The former name works until the next "
            "release.",
            hint="Rename it in the settings.",
            id="cachelayer.W002",
        )
        for former, name in conf.RENAMED.items()
        if former in conf.configured()
    ]


@register()
def check_budget(**kwargs: Any) -> list[CheckMessage]:
    """If Redis does not answer once, the wait costs a request at most its budget."""
    if _is_off_or_wrong():
        return []
    settings = conf.get()
    options: Any = django_settings.CACHES[settings.CACHE_ALIAS]["OPTIONS"]
    return [
        Warning(
            f"CACHES[{settings.CACHE_ALIAS!r}]['OPTIONS'][{name!r}] is {options[name]:g} s, "
            "longer than CACHELAYER['REQUEST_BUDGET'], the "
            f"{settings.REQUEST_BUDGET:g} s that a request may spend on Redis in all.",
            hint="Make the timeout shorter, or the budget larger.",
            id="cachelayer.W003",
        )
        for name in _TIMEOUTS
        if options[name] > settings.REQUEST_BUDGET
    ]


@register()
def check_models(**kwargs: Any) -> list[CheckMessage]:
    """Registered models: the cache can follow what they show, and their tables name the row."""
    problems: list[CheckMessage] = []
    for cached in registry.all_cached():
        problems += _computed_fields(cached)
        problems += _wrong_tables(cached)
    return problems


@register()
def check_tenants(**kwargs: Any) -> list[CheckMessage]:
    """Tenants with schemas share one repair log and one epoch, and ``TENANT`` can be imported."""
    problems: list[CheckMessage] = []
    if "cachelayer" in getattr(django_settings, "TENANT_APPS", ()):
        problems.append(
            Error(
                "cachelayer is one of TENANT_APPS, so each tenant would have a separate repair log "
                "and epoch. One Redis cannot follow several.",
                hint="Put it into SHARED_APPS only, then run migrate_schemas.",
                id="cachelayer.E015",
            )
        )
    path = conf.get().TENANT if not check_settings() else ""
    try:
        if path:
            import_string(path)
    except ImportError as error:
        problems.append(
            Error(
                f"CACHELAYER['TENANT'] is {path!r}, which cannot be imported: {error}.",
                hint="Name a function of your project, such as 'shop.tenants.schema_of'.",
                id="cachelayer.E016",
            )
        )
    return problems


@register(Tags.database)
def check_triggers(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every table behind a cached row has its triggers, enabled and of this release."""
    if _is_off_or_wrong():
        return []
    # Warnings, because an error would stop `migrate`, which installs the triggers.
    return [
        Warning(problem, hint=triggers.MEND, id="cachelayer.W005")
        for alias in sorted(registry.databases() & set(databases or ()))
        for problem in triggers.problems(connections[alias])
    ]


@register(Tags.database)
def check_redis(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Redis gives the cache what it needs. Skipped while Redis is away."""
    if not databases or _is_off_or_wrong():
        return []
    return redis.problems()


def _is_off_or_wrong() -> bool:
    """Whether checks of servers are pointless: the cache is off, or its settings are wrong."""
    return bool(check_settings()) or not conf.get().ENABLED


def _wrong_types(settings: conf.Settings) -> Iterator[CheckMessage]:
    for name, wanted in conf.Settings.__annotations__.items():
        value = getattr(settings, name)
        fits = (int, float) if wanted is float else wanted
        if isinstance(value, bool) is not (wanted is bool) or not isinstance(value, fits):
            yield Error(
                f"CACHELAYER[{name!r}] is {value!r}. Give it a {wanted.__name__}.",
                id="cachelayer.E002",
            )


def _wrong_values(settings: conf.Settings) -> Iterator[CheckMessage]:
    for name in _POSITIVE:
        if not 0 < getattr(settings, name) < math.inf:
            yield Error(f"CACHELAYER[{name!r}] must be above 0.", id="cachelayer.E003")
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(settings, name) < math.inf:
            yield Error(f"CACHELAYER[{name!r}] must not be negative.", id="cachelayer.E003")
    if not 0 <= settings.ROW_TTL_JITTER < 1:
        yield Error(
            "CACHELAYER['ROW_TTL_JITTER'] must be a share from 0 to below 1.", id="cachelayer.E003"
        )
    if not 0 <= settings.CHECK_SHARE <= 1:
        yield Error("CACHELAYER['CHECK_SHARE'] must be a share from 0 to 1.", id="cachelayer.E003")
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", settings.NAMESPACE):
        yield Error(
            f"CACHELAYER['NAMESPACE'] is {settings.NAMESPACE!r}. Use letters, digits, '_', '.' and "
            "'-' only.",
            id="cachelayer.E003",
        )
    if settings.PARTITION not in ("bounded", "strict"):
        yield Error(
            f"CACHELAYER['PARTITION'] is {settings.PARTITION!r}. Set it to 'bounded' or 'strict'.",
            id="cachelayer.E003",
        )
    if settings.BASE_URL and (why := hyperlinks.problem_of(settings.BASE_URL)):
        yield Error(
            f"CACHELAYER['BASE_URL'] is {settings.BASE_URL!r}, which {why}. Set it to the start of "
            "this site's URLs, such as 'https://example.org'.",
            id="cachelayer.E003",
        )
    if settings.RECORDER not in ("auto", "log", "off"):
        yield Error(
            f"CACHELAYER['RECORDER'] is {settings.RECORDER!r}. Set it to 'auto', 'log' or 'off'.",
            id="cachelayer.E003",
        )
    if 2 * settings.PROBE_INTERVAL > settings.SETTLING_TIME:
        yield Error(
            f"CACHELAYER['PROBE_INTERVAL'] is {settings.PROBE_INTERVAL:g} s and SETTLING_TIME "
            f"{settings.SETTLING_TIME:g} s: Redis could be trusted again before every process "
            "that writes without marks has noticed, and an old row could be served.",
            hint="Make SETTLING_TIME at least twice PROBE_INTERVAL.",
            id="cachelayer.E012",
        )


def _wrong_cache(settings: conf.Settings) -> Iterator[CheckMessage]:
    cache: Any = django_settings.CACHES.get(settings.CACHE_ALIAS)
    if cache is None or cache.get("BACKEND") != _NEEDED_BACKEND:
        yield Error(
            f"CACHES[{settings.CACHE_ALIAS!r}] is not a {_NEEDED_BACKEND}. Configure it, or set "
            "CACHELAYER['CACHE_ALIAS'] to the alias that is.",
            id="cachelayer.E004",
        )
        return
    options: Any = cache.get("OPTIONS", {})
    for name in _TIMEOUTS:
        if not options.get(name):
            yield Error(
                f"CACHES[{settings.CACHE_ALIAS!r}]['OPTIONS'][{name!r}] is not set, so a Redis "
                "that hangs would hang every request. Set it to some hundredths of a second.",
                id="cachelayer.E005",
            )
    if options.get("CONNECTION_FACTORY") == cluster.FACTORY:
        try:
            cluster.tag()
        except ImproperlyConfigured as error:
            yield Error(str(error), id="cachelayer.E033")


def _computed_fields(cached: CachedModel) -> Iterator[CheckMessage]:
    """Computed fields, which may read rows that the cache cannot find."""
    if cached.depends_on is not None:
        return
    if not isinstance(cached.serializer, type):
        # A model without relations has nothing to name in depends_on.
        if not any(each.is_relation for each in cached.model._meta.get_fields()):
            return
        name = getattr(cached.serializer, "__qualname__", repr(cached.serializer))
        yield _computed(cached, f"{name} is a function")
        return
    try:
        fields = cached.serializer().fields.items()
    except AttributeError:
        return
    if not library_classes.is_of_rest_framework(cached.serializer, "to_representation"):
        yield _computed(cached, f"{cached.serializer.__name__}.to_representation is computed")
    columns = {"pk"}
    for column in cached.model._meta.get_fields():
        columns |= {column.name, getattr(column, "attname", column.name)}
    for name, field in fields:
        path = (field.source or name).split(".")
        is_seen = path[0] in columns or dependencies.is_relation(cached.model, path[0])
        if not is_seen and not _is_own_url(field, columns):
            yield _computed(cached, f"{cached.serializer.__name__}.{name} is computed")


def _computed(cached: CachedModel, what: str) -> CheckMessage:
    return Warning(
        f"{what}: the cache cannot tell whether it reads more than the row's own columns.",
        hint="Name the relations that it reads in depends_on. If you are sure that it reads none, "
        "set depends_on=[]. In tests, an undeclared read is an error.",
        obj=cached.model,
        id="cachelayer.W001",
    )


def _wrong_tables(cached: CachedModel) -> Iterator[CheckMessage]:
    """Tables whose rows do not say which row of *cached* they belong to."""
    for parent in cached.model._meta.all_parents:
        if not parent._meta.proxy and not _has_key_of(cached.model, parent):
            yield Error(
                f"{cached.model._meta.label} and its parent {parent._meta.label} have different "
                "primary keys: the cache could not tell which row changes with the parent's row.",
                hint="Register the parent, or leave this model out.",
                obj=cached.model,
                id="cachelayer.E014",
            )
    for link in registration.links(cached):
        model: Any = link.remote_field.through
        through: Any = model._meta.get_field(link.m2m_field_name())
        if not through.target_field.primary_key:
            yield Error(
                f"{link} is linked by {through.target_field}, not by the primary key: the cache "
                "could not tell which row changes with a link.",
                hint="Leave the links out of the serializer, or link by the primary key.",
                obj=cached.model,
                id="cachelayer.E014",
            )


def _has_key_of(model: Any, parent: Any) -> bool:
    """Whether a row of *model* has the primary key of its row of *parent*."""
    while model is not parent:
        link = model._meta.pk
        if not (link.is_relation and link.remote_field.parent_link):
            return False
        model = link.remote_field.model
        if not issubclass(model, parent):
            return False
    return True


def _is_own_url(field: Any, columns: set[str]) -> bool:
    """Whether *field* is the row's own hyperlink, made from one of its *columns*."""
    kind = type(field)
    is_plain = kind.__module__.startswith("rest_framework.")
    return (
        is_plain and kind.__name__ == "HyperlinkedIdentityField" and field.lookup_field in columns
    )
