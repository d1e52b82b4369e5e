"""Announces writes from Django's signals to ``write.announce``.

There are two receivers and no patches: ``save()`` works as it does without the cache. Writes
without a signal are announced by the witness (``statement_listener.py``).
"""

from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import signals

from cachelayer.protocol import write
from cachelayer.representation import registry
from cachelayer.representation.registration import AnyModel, CachedModel


def connect(cached: CachedModel) -> None:
    """Announce every save of a row of *cached*, and every delete that Django does row by row.

    Each model is connected once, even with several serializers, because the witness names all keys
    of a write.
    """
    for model in apps.get_models():
        if issubclass(model._meta.concrete_model or model, cached.model):
            signals.post_save.connect(_announce, sender=model)
            if not _can_fast_delete(model):
                signals.post_delete.connect(_announce, sender=model)


def _announce(sender: AnyModel, instance: models.Model, using: str, **kwargs: Any) -> None:
    for model in (sender._meta.concrete_model or sender, *sender._meta.all_parents):
        if cached := registry.find(model):
            pk_field: Any = cached.model._meta.pk
            write.announce(using, cached, getattr(instance, pk_field.attname))


def _can_fast_delete(model: AnyModel) -> bool:
    """Whether Django deletes many rows of *model* with one statement.

    A receiver would prevent that: Django would load every row and send a signal for each, which
    takes ten times as long. The witness names these rows anyway.
    """
    options = model._meta
    followed = (
        relation
        for relation in options.get_fields(include_hidden=True)
        if relation.auto_created
        and not relation.concrete
        and (relation.one_to_one or relation.one_to_many)
        and relation.on_delete is not models.DO_NOTHING  # type: ignore[union-attr]
    )
    return not options.parents and not any(followed)
