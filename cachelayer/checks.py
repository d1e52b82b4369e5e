"""System checks: a configuration that would break a promise does not start."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router

from cachelayer import checks_redis, conf, registry
from cachelayer.queryset import CachedQuerySet
from cachelayer.registry import CachedModel

_NEEDED_BACKEND = "django_redis.cache.RedisCache"
_POSITIVE = (
    "ROW_TTL",
    "NULL_TTL",
    "MARK_LIFETIME",
    "LEASE_LIFETIME",
    "COUNT_INTERVAL",
    "PROBE_INTERVAL",
    "SETTLING_TIME",
    "LOOK_INTERVAL",
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
    return [*problems, *_wrong_cache(settings)]


@register()
def check_budget(**kwargs: Any) -> list[CheckMessage]:
    """One answer of Redis that does not come costs a request no more than its budget."""
    if check_settings():
        return []  # Those come first.
    settings = conf.get()
    options: Any = django_settings.CACHES[settings.CACHE_ALIAS]["OPTIONS"]
    return [
        Warning(
            f"CACHES[{settings.CACHE_ALIAS!r}]['OPTIONS'][{name!r}] is {options[name]:g} s: "
            "one answer that does not come takes longer than CACHELAYER['REQUEST_BUDGET'], "
            f"{settings.REQUEST_BUDGET:g} s, which a request may spend on Redis in all.",
            hint="Make the timeout shorter, or the budget larger.",
            id="cachelayer.W003",
        )
        for name in _TIMEOUTS
        if options[name] > settings.REQUEST_BUDGET
    ]


@register()
def check_models(**kwargs: Any) -> list[CheckMessage]:
    """Registered models: a manager that the cache follows, a serializer of one row."""
    problems: list[CheckMessage] = []
    for cached in registry.all_cached():
        problems += _wrong_managers(cached)
        problems += _wrong_fields(cached)
        problems += _wrong_cascades(cached)
    return problems


@register(Tags.database)
def check_transactions(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """A mark outlives every transaction: the server ends those that last longer."""
    if check_settings():
        return []  # Those come first.
    aliases = {router.db_for_write(cached.model) for cached in registry.all_cached()}
    problems: list[CheckMessage] = []
    for alias in sorted(aliases & set(databases or ())):
        longest = longest_commit(alias)
        lifetime = conf.get().MARK_LIFETIME
        if longest is None or longest >= lifetime:
            found = "without end" if longest is None else f"{longest:g} s"
            problems.append(
                Error(
                    f"A transaction on the database {alias!r} may take {found} from its mark to "
                    f"its COMMIT, but a mark lives {lifetime:g} s: readers could fill the old row.",
                    hint="Set transaction_timeout (Postgres 17+), or statement_timeout and "
                    "idle_in_transaction_session_timeout, in DATABASES' OPTIONS['options'], "
                    "together below CACHELAYER['MARK_LIFETIME'].",
                    id="cachelayer.E011",
                )
            )
    return problems


@register(Tags.database)
def check_redis(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The Redis that is there gives the cache what it needs; skipped where it is away."""
    if not databases or check_settings():
        return []  # Those come first.
    return checks_redis.problems()


def longest_commit(alias: str) -> float | None:
    """The most seconds between a mark and the end of its COMMIT, as the server bounds it.

    Marks go on just before COMMIT: from there a transaction idles once (the
    process may be paused) and executes once. None when there is no bound.
    """
    names = ("transaction_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT name, setting::bigint / 1000.0 FROM pg_settings WHERE name = ANY(%s)",
            [list(names)],
        )
        seconds = {name: float(setting) for name, setting in cursor.fetchall()}
    whole, statement, idle = (seconds.get(name, 0.0) for name in names)
    bounds = [whole] if whole else []
    if statement and idle:
        bounds.append(statement + idle)
    return min(bounds, default=None)


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
            "CACHELAYER['ROW_TTL_JITTER'] is a share: from 0 to below 1.", id="cachelayer.E003"
        )
    if not 0 <= settings.CHECK_SHARE <= 1:
        yield Error("CACHELAYER['CHECK_SHARE'] is a share: from 0 to 1.", id="cachelayer.E003")
    if settings.PARTITION not in ("bounded", "strict"):
        yield Error(
            f"CACHELAYER['PARTITION'] is {settings.PARTITION!r}. Set it to 'bounded' or 'strict'.",
            id="cachelayer.E003",
        )
    if 2 * settings.PROBE_INTERVAL > settings.SETTLING_TIME:
        yield Error(
            f"CACHELAYER['PROBE_INTERVAL'] is {settings.PROBE_INTERVAL:g} s and SETTLING_TIME "
            f"{settings.SETTLING_TIME:g} s: Redis could be trusted again before every process "
            "that writes without marks has looked at it, and an old row be served.",
            hint="Make SETTLING_TIME twice PROBE_INTERVAL or more.",
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
                f"CACHES[{settings.CACHE_ALIAS!r}]['OPTIONS'][{name!r}] is not set: a Redis that "
                "hangs would hang every request. Set it to some hundredths of a second.",
                id="cachelayer.E005",
            )


def _wrong_managers(cached: CachedModel) -> Iterator[CheckMessage]:
    family = {cached.model: None}
    # Proxies and, with multi-table inheritance, parents and children.
    family |= {model: None for model in apps.get_models() if _shares_rows(model, cached)}
    for model in family:
        for manager in dict.fromkeys([model._base_manager, *model._meta.managers]):
            if isinstance(manager.get_queryset(), CachedQuerySet):
                continue
            yield Error(
                f"{model._meta.label}.{manager.name} is no CachedManager: its update() "
                f"and bulk_create() would pass the cached {cached.prefix} by.",
                hint="Use cachelayer.CachedManager(), or build the manager on "
                "cachelayer.CachedQuerySet; Meta.base_manager_name names one that hides no rows.",
                obj=model,
                id="cachelayer.E006",
            )


def _shares_rows(model: registry.AnyModel, cached: CachedModel) -> bool:
    return any(other is cached for other in registry.sharing_rows_with(model))


def _wrong_fields(cached: CachedModel) -> Iterator[CheckMessage]:
    """A row that shows columns of other rows would go stale when those change."""
    if not isinstance(cached.serializer, type):
        return
    try:
        fields = cached.serializer().fields.items()
    except AttributeError:
        return
    columns, relations, reverse = {"pk"}, set(), set()
    for column in cached.model._meta.get_fields():
        if isinstance(column, models.ForeignObjectRel):
            reverse.add(column.get_accessor_name())
        elif column.is_relation:
            relations.add(column.name)
        columns |= {column.name, getattr(column, "attname", column.name)}
    for name, field in fields:
        path = (field.source or name).split(".")
        foreign = path[0] in relations and (len(path) > 1 or _shows_columns(field))
        if foreign or path[0] in reverse:
            yield Error(
                f"{cached.serializer.__name__}.{name} shows columns of another row; the cached "
                f"{cached.prefix} would not change when that row does.",
                hint="Serialize the related row's id, and read that row by its own.",
                obj=cached.model,
                id="cachelayer.E007",
            )
        elif path[0] not in columns:
            yield Warning(
                f"{cached.serializer.__name__}.{name} is computed: nobody can check that it "
                "depends on nothing but the row's own columns.",
                hint="Make sure that it does, then silence cachelayer.W001.",
                obj=cached.model,
                id="cachelayer.W001",
            )


def _wrong_cascades(cached: CachedModel) -> Iterator[CheckMessage]:
    usual = (models.CASCADE, models.PROTECT, models.RESTRICT, models.DO_NOTHING)
    for field in cached.model._meta.concrete_fields:
        on_delete = getattr(field.remote_field, "on_delete", models.CASCADE)
        # Django updates through the base manager where it may be lazy (SET_NULL and
        # its kin); a function of the project's own updates past every manager.
        if on_delete not in usual and not getattr(on_delete, "lazy_sub_objs", False):
            yield Error(
                f"{field} has an on_delete of its own, whose updates the cache cannot follow.",
                hint="Use one of Django's, or set its lazy_sub_objs to True.",
                obj=cached.model,
                id="cachelayer.E008",
            )


def _shows_columns(field: Any) -> bool:
    """Whether *field*, of a relation, shows more of the related row than its id."""
    field = getattr(field, "child_relation", getattr(field, "child", field))
    names = {base.__name__ for base in type(field).__mro__}
    return hasattr(field, "fields") or bool(names & {"StringRelatedField", "SlugRelatedField"})
