"""From Django's signals to ``write.record``: save, delete, cascades, many-to-many."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction
from django.db.models import signals
from django.db.transaction import TransactionManagementError

from cachelayer import exactness, registry, states, write
from cachelayer.queryset import CachedManager
from cachelayer.registry import AnyModel, CachedModel


def connect(cached: CachedModel) -> None:
    """Follow every write of a row of *cached* that Django announces."""
    for model in apps.get_models(include_auto_created=True):
        if any(other is cached for other in registry.sharing_rows_with(model)):
            _save_in_transaction(model)
            _follow_base_manager(model)
            signals.pre_save.connect(_require_transaction, sender=model)
            signals.post_save.connect(_saved, sender=model)
            signals.post_delete.connect(_deleted, sender=model)
    for m2m in cached.model._meta.many_to_many:
        signals.m2m_changed.connect(
            _follow_links(cached),
            sender=m2m.remote_field.through,
            weak=False,
            dispatch_uid=("cachelayer", cached.prefix, m2m.name),
        )


def _save_in_transaction(model: AnyModel) -> None:
    """Make ``save()`` in autocommit a transaction of its own.

    The design marks in pre_save then. That is not enough: without the row lock
    the marks of two saves go on in one order and their UPDATEs in another.
    A marks, B marks, B updates and pushes, a reader fills B's row, A updates,
    A is killed: B's row stays, older than A's. With BEGIN … COMMIT around the
    UPDATE the lock is held as everywhere else.
    """
    save_base = model.save_base
    if getattr(save_base, "in_transaction", False):
        return

    @wraps(save_base)
    def save_base_in_transaction(
        self: models.Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        using = using or router.db_for_write(type(self), instance=self)
        arguments = (raw, force_insert, force_update, using, update_fields)
        if connections[using].in_atomic_block:
            save_base(self, *arguments)
        else:
            with transaction.atomic(using=using):
                save_base(self, *arguments)

    save_base_in_transaction.in_transaction = True  # type: ignore[attr-defined]
    model.save_base = save_base_in_transaction  # type: ignore[method-assign]


def _follow_base_manager(model: AnyModel) -> None:
    """Let Django's own bulk updates be followed: SET_NULL cascades, ``author.books.add``.

    They go through the base manager, which is a plain one unless it is named.
    """
    options = model._meta
    if options.base_manager_name is None:
        for manager in options.managers:
            if type(manager) is CachedManager:
                options.base_manager_name = manager.name
                options.__dict__.pop("base_manager", None)
                return


def _require_transaction(sender: AnyModel, using: str, **kwargs: Any) -> None:
    if not connections[using].in_atomic_block:
        raise TransactionManagementError(
            f"A {sender._meta.verbose_name} was about to be saved past Model.save() and outside "
            "a transaction, where the cache cannot follow it. Put "
            "`with transaction.atomic():` around the call."
        )


def _saved(
    sender: AnyModel,
    instance: models.Model,
    using: str,
    created: bool = False,
    raw: bool = False,
    update_fields: Iterable[str] | None = None,
    **kwargs: Any,
) -> None:
    whole = not raw and update_fields is None
    for cached in registry.sharing_rows_with(sender):
        if created and not isinstance(instance, cached.model):
            continue  # A new parent has no children as yet.
        pk = _pk(instance, cached)
        exact = whole and _is_of(instance, cached) and exactness.is_the_row(instance)
        row = cached.render(instance) if exact and not cached.reread else None
        write.record(using, cached, {pk: row})


def _deleted(sender: AnyModel, instance: models.Model, using: str, **kwargs: Any) -> None:
    for cached in registry.sharing_rows_with(sender):
        pk = _pk(instance, cached)
        # A child deleted with keep_parents leaves its parent's row: read again.
        row = states.NULL if _is_of(instance, cached) else None
        write.record(using, cached, {pk: row})


def _pk(instance: models.Model, cached: CachedModel) -> Any:
    """The primary key of the row of *cached* that is written along with *instance*."""
    if isinstance(instance, cached.model):
        return getattr(instance, cached.model._meta.pk.attname)
    return instance.pk


def _is_of(instance: models.Model, cached: CachedModel) -> bool:
    return instance._meta.concrete_model is cached.model


def _follow_links(cached: CachedModel) -> Callable[..., None]:
    def links_change(
        sender: AnyModel,
        instance: models.Model,
        action: str,
        reverse: bool,
        using: str,
        pk_set: set[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if action not in ("pre_add", "pre_remove", "pre_clear"):
            return
        if not reverse:
            pks: set[Any] = {instance.pk}
        elif pk_set is not None:
            pks = pk_set
        else:
            pks = _linked(cached, sender, instance, using)
        write.invalidate(cached.model, *pks, using=using)

    return links_change


def _linked(cached: CachedModel, through: AnyModel, instance: models.Model, using: str) -> set[Any]:
    """The rows of *cached* that *through* links to *instance*."""
    for m2m in cached.model._meta.many_to_many:
        if m2m.remote_field.through is through:
            linked = cached.rows(using).filter(**{m2m.name: instance.pk})
            return set(linked.values_list("pk", flat=True))
    return set()
