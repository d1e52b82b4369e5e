"""This process as one of another release, which shows its rows differently."""

from contextlib import contextmanager
from dataclasses import replace

import orjson

import cachelayer
from cachelayer.redis import variants
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Note

B = "b" * 12


def show_stars(note):
    return {"stars": note.stars, "release": "B"}


@contextmanager
def release_b(shape=B):
    """This process as one of the release that has come later."""
    mine = registry.get(Note)
    registry._registered[Note] = replace(mine, serializer=show_stars)
    variants._own = {"note": shape}
    try:
        yield
    finally:
        registry._registered[Note] = mine
        variants._own = {}


def read():
    [note] = Note.objects.all()
    found = cachelayer.read(Note, note.pk)
    return found.outcome, orjson.loads(found.row)


def keys(note):
    return f"note:{note.pk}", f"note~{B}:{note.pk}"
