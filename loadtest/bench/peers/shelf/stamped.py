"""Rows with any number of stamps: a function is cached for each of their columns."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django.db import models
from rest_framework import serializers

#: Of how many columns rows have a stamp.
STAMPS: Final = (0, 1, 5, 50)


def _model(stamps: int) -> Any:
    columns: dict[str, Any] = {f"c{n}": models.IntegerField(default=n) for n in range(stamps)}
    meta = type("Meta", (), {"app_label": "shelf"})
    about = {"__module__": __name__, "__doc__": f"A row with {stamps} stamps.", "Meta": meta}
    columns["written"] = models.IntegerField(default=0)
    return type(f"Stamped{stamps}", (models.Model,), {**about, **columns})


MODELS: Final = {stamps: _model(stamps) for stamps in STAMPS}
#: By model, what is cached of its rows with a value in a column.
_FUNCTIONS: dict[int, list[Any]] = {}


def register(cachelayer: Any) -> None:
    """Have the rows cached, and a function of the rows with a value in each of the columns."""
    for stamps, model in MODELS.items():
        meta = type("Meta", (), {"model": model, "fields": ["id", "written"]})
        name = f"Stamped{stamps}Serializer"
        cachelayer.register(model, type(name, (serializers.ModelSerializer,), {"Meta": meta}))
        _FUNCTIONS[stamps] = [
            cachelayer.document(
                f"stamped{stamps}_c{n}",
                ["value"],
                depends_on=[cachelayer.Rows(model, **{f"c{n}": "value"})],
            )(_sum_of(model, f"c{n}"))
            for n in range(stamps)
        ]


def _sum_of(model: Any, column: str) -> Callable[[int], bytes]:
    def written(value: int) -> bytes:
        rows = model.objects.filter(**{column: value})
        return b"%d" % sum(rows.values_list("written", flat=True))

    return written


def _update(stamps: int, count: int) -> float:
    """Seconds of one ``update()`` of a row, in autocommit."""
    model = MODELS[stamps]
    row = model.objects.first() or model.objects.create()
    start = time.perf_counter()
    for number in range(count):
        model.objects.filter(pk=row.pk).update(written=number)
    seconds = time.perf_counter() - start
    shown = [function(n) for n, function in enumerate(_FUNCTIONS[stamps])]
    if any(text != b"%d" % (count - 1) for text in shown):
        raise RuntimeError(f"A function outlives writes of what it shows: {shown}.")
    return seconds / count


WORK: Final = {f"update_{stamps}_stamps": partial(_update, stamps) for stamps in STAMPS}
