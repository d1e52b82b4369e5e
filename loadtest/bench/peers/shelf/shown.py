"""Reads of a document and of a row, writes of a row that documents show and of one that none does.

For the layer alone: without it there is neither.
"""

import time
from collections.abc import Callable
from typing import Any, Final, cast

from django.apps import apps

from loadtest.bench.peers.shelf.models import Film, Person, Play

#: The share of reads that must have been hits: where the machine is busy, Redis may be late.
_PURE: Final = 0.99


def read_document(count: int) -> float:
    """Seconds of one."""
    _prepare()
    return _read(Person, count)


def read_row(count: int) -> float:
    """Seconds of one."""
    _prepare()
    return _read(Play, count)


def update_shown(count: int) -> float:
    """Seconds of one; the row has five stamps."""
    person = _prepare()
    _look_up(Person, person.pk)
    seconds = _update(Film, count)
    if _outcome(Person, person.pk) == "hit":
        raise RuntimeError("A document outlives writes of what it shows.")
    return seconds


def update_not_shown(count: int) -> float:
    """Seconds of one."""
    _prepare()
    return _update(Play, count)


def _prepare() -> Person:
    """A film and a play, which refer by all columns to this person."""
    if person := Person.objects.first():
        return person
    person = Person.objects.create(name="Somebody")
    roles = ("director", "writer", "producer", "composer", "editor")
    columns: dict[str, Any] = dict.fromkeys(roles, person)
    Film.objects.create(title="A film", **columns)
    Play.objects.create(title="A play", **columns)
    return person


def _reader() -> Callable[[Any, int], Any]:
    # By its name: this package may import nothing of the project.
    cachelayer: Any = apps.get_app_config("cachelayer").module
    return cast("Callable[[Any, int], Any]", cachelayer.read)


def _outcome(model: Any, pk: int) -> str:
    return str(_reader()(model, pk).outcome)


def _look_up(model: Any, pk: int) -> None:
    """Until it is in the cache."""
    deadline = time.monotonic() + 20
    while _outcome(model, pk) != "hit":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{model._meta.label} is not cached.")
        time.sleep(0.01)


def _read(model: Any, count: int) -> float:
    pk = model.objects.get().pk
    _look_up(model, pk)
    read, hits = _reader(), 0
    start = time.perf_counter()
    for _ in range(count):
        hits += read(model, pk).outcome == "hit"
    seconds = time.perf_counter() - start
    if hits < count * _PURE:
        raise RuntimeError(f"Only {hits} of {count} reads were hits; is Redis overloaded?")
    return seconds / count


def _update(model: Any, count: int) -> float:
    row = model.objects.get()
    start = time.perf_counter()
    for number in range(count):
        model.objects.filter(pk=row.pk).update(minutes=number)
    seconds = time.perf_counter() - start
    if _outcome(model, row.pk) != "hit":
        raise RuntimeError(f"{model._meta.label} that was written is not in the cache.")
    return seconds / count


WORK: Final = {
    "read_document": read_document,
    "read_row": read_row,
    "update_shown": update_shown,
    "update_not_shown": update_not_shown,
}
